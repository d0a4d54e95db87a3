"""Writes with `influxdb-client` (InfluxDB 2.x). tests/clients.rs checks what arrived. Usage: influxdb_v2.py URL"""

import sys
from datetime import datetime, timezone

from influxdb_client import InfluxDBClient, Point, WriteOptions, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

url = sys.argv[1]
with InfluxDBClient(url=url, token="secret", org="acme") as client:
    assert client.ping()
    health = client.health()
    assert health.status == "pass" and health.name == "influxdb", health

    writer = client.write_api(write_options=SYNCHRONOUS)
    point = Point("cpu").tag("host", "a b").field("idle", 12.25).field("cores", 8)
    writer.write(bucket="plant", record=point.time(1700000000123456789, WritePrecision.NS))
    at = datetime(2023, 11, 14, 22, 13, 20, 500000, tzinfo=timezone.utc)
    door = {"measurement": "door", "tags": {"side": "left"}, "fields": {"value": False}, "time": at}
    writer.write(bucket="plant", record=door)
    writer.write(bucket="plant", record="raw value=1e-7 1700000000", write_precision=WritePrecision.S)

    try:
        writer.write(bucket="plant", record=["good value=1 1700000000000000000", "bad value="])
        raise SystemExit("a bad line was accepted")
    except ApiException as error:
        assert error.status == 400, error
        assert "line 2" in error.message or "line 2" in error.body, error

with InfluxDBClient(url=url, token="secret", org="acme", enable_gzip=True) as client:
    failures = []
    with client.write_api(
        write_options=WriteOptions(batch_size=500, flush_interval=1_000, max_retries=0),
        error_callback=lambda *failure: failures.append(failure),
    ) as batches:
        for n in range(2000):
            record = Point("batch").tag("n", n % 10).field("value", n).time(1700000000 + n, WritePrecision.S)
            batches.write(bucket="plant", record=record, write_precision=WritePrecision.S)
    assert not failures, failures
