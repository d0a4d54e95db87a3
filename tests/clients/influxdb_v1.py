"""Writes with the client `influxdb` (InfluxDB 1.x). tests/clients.rs checks what arrived. Usage: influxdb_v1.py URL"""

import sys
from urllib.parse import urlsplit

from influxdb import InfluxDBClient
from influxdb.exceptions import InfluxDBClientError

address = urlsplit(sys.argv[1])
client = InfluxDBClient(host=address.hostname, port=address.port, database="plant")
assert client.ping(), "ping answers the version"
client.create_database("plant")

points = [
    {"measurement": "cpu", "tags": {"host": "a b"}, "time": 1700000000 + i, "fields": {"idle": 90.5 + i, "cores": 4}}
    for i in range(3)
]
assert client.write_points(points, time_precision="s")
assert {"name": "plant"} in client.get_list_database()
assert client.write_points(
    [
        {
            "measurement": "door",
            "tags": {"größe": "1,5=m"},
            "time": "2023-11-14T22:13:20.123456Z",
            "fields": {"value": True, "note": 'left "open"'},
        }
    ]
)
lines = [f"batch,n={n} value={n}i 1700000000000" for n in range(1000)]
assert client.write_points(lines, protocol="line", time_precision="ms", batch_size=300)

zipped = InfluxDBClient(host=address.hostname, port=address.port, database="plant", gzip=True)
assert zipped.write_points(
    [{"measurement": "zipped", "time": 1700000000, "fields": {"value": -0.25}}],
    time_precision="s",
    retention_policy="week",
)

try:
    client.write_points(["good value=1 1700000000", "bad value= 1700000000"], protocol="line", time_precision="s")
    raise SystemExit("a bad line was accepted")
except InfluxDBClientError as error:
    assert error.code == 400, error
    assert "partial write" in str(error) and "line 2" in str(error), error
