#!/usr/bin/env python3
"""Makes the data directories of one version of the formats, with a binary that writes it.

    cargo build -p timberline
    tests/data_directories/make.py target/debug/timberline tests/data_directories/v2

All of the directories hold the same samples, each in another state; README.md says which. Needs Python 3 and nothing else.
"""

import json
import pathlib
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request

SECOND = 10**9
MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
START = 1_704_067_200 * SECOND  # 2024-01-01
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
MEANWHILE = START + 30 * HOUR


class Server:
    """`timberline serve` on a free port."""

    def __init__(self, binary, folder):
        command = [binary, "serve", "--listen", "127.0.0.1:0", "--log", "info", "--data-dir", folder]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.url = None
        for line in self.process.stderr:
            if "address=" in line and self.url is None:
                self.url = "http://" + re.search(r"address=(\S+)", line).group(1)
            if "ready seconds=" in line:
                return
        raise SystemExit("the server did not become ready")

    def post(self, path, body=b"", **headers):
        request = urllib.request.Request(self.url + path, data=body, headers=headers, method="POST")
        with urllib.request.urlopen(request) as response:
            return response.read().decode()

    def get(self, path):
        with urllib.request.urlopen(self.url + path) as response:
            return response.read().decode()

    def admin(self, action, **parameters):
        return self.post(f"/api/v1/admin/tsdb/{action}?{urllib.parse.urlencode(parameters)}")

    def write(self, lines):
        self.post("/write", "\n".join(lines).encode())

    def remote_write(self, series):
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
        self.post("/api/v1/write", snappy(b"".join(message(1, one) for one in series)), **headers)

    def end(self, by):
        self.process.send_signal(by)
        self.process.wait()


# Protocol buffers and snappy, as far as remote write needs them.


def varint(number):
    number &= 2**64 - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


def zigzag(number):
    return varint(number << 1 ^ number >> 63)


def integer(field, number):
    return varint(field << 3) + varint(number)


def double(field, number):
    return varint(field << 3 | 1) + struct.pack("<d", number)


def message(field, content):
    return varint(field << 3 | 2) + varint(len(content)) + content


def snappy(plain):
    """Literals only."""
    out = varint(len(plain))
    for at in range(0, len(plain), 65536):
        piece = plain[at : at + 65536]
        out += bytes([61 << 2]) + struct.pack("<H", len(piece) - 1) + piece
    return out


def series(labels, samples=(), histograms=()):
    """`samples` are pairs of nanoseconds and a value, `histograms` those of nanoseconds and an encoded histogram."""
    pairs = sorted(labels.items(), key=lambda pair: pair[0].encode())
    out = b"".join(message(1, message(1, name.encode()) + message(2, value.encode())) for name, value in pairs)
    for time, value in samples:
        out += message(2, double(1, value) + integer(2, time // 1_000_000))
    for time, histogram in histograms:
        out += message(4, histogram + integer(15, time // 1_000_000))
    return out


def histogram(counts, schema=3, total=2.5, hint=0, bounds=(), floats=False):
    """Positive buckets with these counts; without bounds of its own it has a zero bucket and a negative one, too."""
    first = 0 if bounds else -2
    out = double(3, total) + varint(4 << 3) + zigzag(schema)
    negative, zero = ([], 0) if bounds else ([3], 1)
    for field, side in ((8, negative), (11, counts)):
        if side:
            out += message(field, varint(1 << 3) + zigzag(first) + integer(2, len(side)))
        if floats:
            out += message(field + 2, b"".join(struct.pack("<d", count) for count in side))
        else:
            deltas = [after - before for before, after in zip([0, *side], side)]
            out += message(field + 1, b"".join(zigzag(delta) for delta in deltas))
    count = sum(counts) + sum(negative) + zero
    out += double(2, count) + double(7, zero) if floats else integer(1, count) + integer(6, zero)
    out += double(5, 0.001 if zero else 0.0) + integer(14, hint)
    return out + message(16, b"".join(struct.pack("<d", bound) for bound in bounds))


# What is written, and when.


def regular(first, last, step=10 * MINUTE, hosts="abc"):
    """Groups of fields that share a column of times: counters, decimals, constants, noise, doubles."""
    noise = random.Random(first)
    for time in range(first, last, step):
        at = (time - START) // step
        for host in hosts:
            fields = {
                "counter": f"{at * 17 + ord(host)}i",
                "decimal": f"{noise.randrange(10_000) / 100}",
                "constant": "1.5",
                "noise": f"{round(noise.gauss(0, 1) * 40)}i",
                "double": repr(noise.random()),
                "up": "true",
                "version": '"a string is no sample"',
            }
            yield f"cpu,host={host} " + ",".join(f"{name}={value}" for name, value in fields.items()) + f" {time}"


def dense(first, count):
    """More samples than a chunk has, a second apart, now and then irregular."""
    walk, now = random.Random(count), first
    level = 0
    for at in range(count):
        level += walk.choice([-1, 0, 0, 0, 1])
        now += SECOND if at % 1000 else SECOND + 1
        yield f"dense value={level}i {now}"


def native(first, steps, floats):
    """Native histograms: a counter with a reset, a gauge, and custom buckets, with floats and staleness between them."""
    times = [first + at * MINUTE for at in range(steps)]
    name = "latency_float" if floats else "latency"
    growing = [histogram([at % 20 + 1, 2 * (at % 20), 3], total=at / 8, floats=floats) for at in range(steps)]
    gauge = [histogram([at % 5, 1], schema=0, hint=3, floats=floats) for at in range(steps)]
    custom = [histogram([at, 2, 1], schema=-53, bounds=(0.5, 1.0), floats=floats) for at in range(steps)]
    yield series({"__name__": name, "kind": "counter"}, histograms=list(zip(times, growing)))
    yield series({"__name__": name, "kind": "gauge"}, histograms=list(zip(times, gauge)))
    yield series({"__name__": name, "kind": "custom"}, histograms=list(zip(times, custom)))
    mixed = [(time, float(at)) for at, time in enumerate(times) if at % 2]
    yield series({"__name__": name, "kind": "mixed"}, mixed, list(zip(times, growing))[::2])
    ended = [(times[0], growing[0]), (times[1], histogram([], total=STALE, floats=floats))]
    yield series({"__name__": name, "kind": "ended"}, histograms=ended)


def odd(first):
    """Values, names and times at the edges."""
    infinity, nan = float("inf"), float("nan")
    values = [0.0, -0.0, 5e-324, 1.7976931348623157e308, infinity, -infinity, nan, STALE, 0.1, -1e-9]
    samples = [(first + at * MINUTE, value) for at, value in enumerate(values)]
    yield series({"__name__": "odd", "place": "plain"}, samples)
    yield series({"__name__": "größe 1", "日本": "ü \" \\ \n", "le": "+Inf"}, samples[:3])
    yield series({"without": "a name"}, samples[3:5])
    yield series({"__name__": "ended"}, [(first, 1.0), (first + MINUTE, 2.0), (first + 2 * MINUTE, STALE)])


def fill(server):
    # A day in blocks that are merged, then one that is not.
    for six_hours in range(5):
        first = START + six_hours * 6 * HOUR
        server.write(regular(first, first + 6 * HOUR))
        server.admin("flush")
    server.write(dense(START + 13 * HOUR, 4200))
    server.remote_write(native(START + 7 * HOUR, 40, floats=False))
    server.remote_write(odd(START + 26 * HOUR))
    server.admin("flush")
    server.admin("compact")
    # Before the epoch, and a month late: blocks of their own.
    server.write([f"old,host=a value={at} {at * 300 * SECOND}" for at in range(-3, 3)])
    server.write(regular(START - 30 * 24 * HOUR, START - 30 * 24 * HOUR + 2 * HOUR))
    server.admin("flush")
    # Deleted from some of the blocks, too little for them to be written anew.
    deleted = {"match[]": 'cpu_decimal{host="b"}', "start": "2024-01-01T03:00:00Z", "end": "2024-01-01T05:00:00Z"}
    server.admin("delete_series", **deleted)
    server.admin("delete_series", **{"match[]": 'cpu_noise{host="c"}', "start": "2024-01-02T01:00:00Z"})
    server.admin("delete_series", **{"match[]": "old", "end": "1970-01-01T00:00:00Z"})
    # The log: series that blocks have and new ones, late points, overwritten ones, and where something was deleted.
    server.write(regular(MEANWHILE, MEANWHILE + 2 * HOUR, hosts="abcd"))
    server.write([f"cpu,host=a constant=2,decimal=-1 {START + 3 * HOUR}", f"cpu,host=b decimal=7 {START + 4 * HOUR}"])
    server.write([f"fine,host=a value={at}.25 {MEANWHILE + at * 1_000_003}" for at in range(150)])
    server.remote_write(native(MEANWHILE, 20, floats=True))
    server.remote_write(odd(MEANWHILE))


QUERIES = [
    ("query", {"query": "count({__name__!=''})", "time": "2024-01-02T07:50:00Z"}),
    ("query", {"query": "cpu_counter", "time": "2024-01-02T07:50:00Z"}),
    ("query", {"query": "cpu_counter - cpu_counter offset 2h", "time": "2024-01-01T12:00:00Z"}),
    ("query", {"query": "count_over_time(cpu_decimal[60d])", "time": "2024-01-02T08:00:00Z"}),
    ("query", {"query": "max_over_time(dense[2h])", "time": "2024-01-01T15:00:00Z"}),
    ("query", {"query": "histogram_count(latency)", "time": "2024-01-01T07:30:00Z"}),
    ("query", {"query": 'latency_float{kind!="mixed"}', "time": "2024-01-02T06:19:00Z"}),
    ("query", {"query": '{"größe 1"}', "time": "2024-01-02T06:02:00Z"}),
    ("query", {"query": "ended", "time": "2024-01-02T06:03:00Z"}),
    ("query_range", {"query": "old", "start": "0", "end": "700", "step": "300"}),
    ("labels", {}),
    ("label/host/values", {}),
    ("series", {"match[]": '{kind=~".+"}'}),
]


def answers(server):
    for endpoint, parameters in QUERIES:
        path = f"/api/v1/{endpoint}?{urllib.parse.urlencode(parameters)}"
        yield f"{path}\t{server.get(path)}\n"


def export(server):
    form = {"match[]": ['{__name__!=""}', '{without!=""}'], "precision": "ns"}
    body = urllib.parse.urlencode(form, doseq=True).encode()
    text = server.post("/api/v1/export", body, **{"Content-Type": "application/x-www-form-urlencoded"})
    return sorted(text.splitlines(keepends=True))


def main(binary, target):
    binary, target = str(pathlib.Path(binary).resolve()), pathlib.Path(target)
    target.mkdir()
    data = pathlib.Path(tempfile.mkdtemp()) / "data"
    server = Server(binary, data)
    fill(server)
    expected = export(server), list(answers(server))
    server.end(signal.SIGKILL)
    shutil.copytree(data, target / "killed")

    server = Server(binary, data)
    assert (export(server), list(answers(server))) == expected
    server.end(signal.SIGINT)
    shutil.copytree(data, target / "closed")

    server = Server(binary, data)
    name = json.loads(server.admin("snapshot"))["data"]["name"]
    shutil.copytree(data / "snapshots" / name, target / "snapshot")
    subprocess.run([binary, "backup", "--from", data, "--url", server.url, target / "backup"], check=True)
    assert (export(server), list(answers(server))) == expected
    server.end(signal.SIGINT)
    shutil.rmtree(data.parent)
    (target / "export.jsonl").write_text("".join(expected[0]), encoding="utf-8")
    (target / "answers.txt").write_text("".join(expected[1]), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
