"""Reads with `prometheus-api-client` what tests/clients.rs wrote: a counter `requests_total` of two hosts, that grows by 5
and 10 a second from 1700000000 on, for 60 s. Usage: prometheus_api.py URL"""

import sys
from datetime import datetime, timezone

from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException

START = 1700000000
prometheus = PrometheusConnect(url=sys.argv[1], disable_ssl=True)
assert prometheus.check_prometheus_connection()
assert prometheus.all_metrics() == ["requests_total"]
assert set(prometheus.get_label_names()) == {"__name__", "host"}
assert prometheus.get_label_values("host") == ["a", "b"]

at = {"time": START + 60}
now = prometheus.get_current_metric_value("requests_total", label_config={"host": "b"}, params=at)
assert [(sample["metric"]["host"], sample["value"]) for sample in now] == [("b", [START + 60, "600"])], now

rates = prometheus.custom_query("rate(requests_total[30s])", params=at)
assert {sample["metric"]["host"]: sample["value"][1] for sample in rates} == {"a": "5", "b": "10"}, rates

span = [datetime.fromtimestamp(START + seconds, tz=timezone.utc) for seconds in (0, 60)]
total = prometheus.custom_query_range("sum(requests_total)", start_time=span[0], end_time=span[1], step="20")
expected = [[START + seconds, str(15 * seconds)] for seconds in (0, 20, 40, 60)]
assert [series["values"] for series in total] == [expected], total

raw = prometheus.get_metric_range_data('requests_total{host="a"}', start_time=span[0], end_time=span[1])
samples = [sample for series in raw for sample in series["values"]]
# The client asks for `[60s]` at the end, and a range begins behind its start.
assert samples == [[START + seconds, str(5 * seconds)] for seconds in range(1, 61)], raw

try:
    prometheus.custom_query("sum(")
    raise SystemExit("a bad query was accepted")
except PrometheusApiClientException as error:
    assert "400" in str(error), error
