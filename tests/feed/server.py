#!/usr/bin/env python3
"""An independent feed server for redflag's tests. It shares no code with redflag.

HTTP (auth and control, one port) and WebSocket (another port), both on 127.0.0.1. At start one JSON line on stdout names them:
    {"http": 40001, "socket": 40002}

Auth:     POST /v2/auth/token    {"username", "password"} -> {"accessToken", "exp", "refreshToken"?}
          POST /v2/auth/refresh  {"RefreshToken"} (single use)
          GET  /v2/auth/check    Authorization: Bearer
Socket:   GET  /ws/connect       Authorization: Bearer; 401 for an unknown or expired token
Control:  POST /control/send     body = one frame, sent as it is (?kind=binary; ?kind=missed: only kept, as if nobody had listened;
                                 ?kind=unkept: damaged on the way, so getLastMessages does not bring it)
          POST /control/lines    every line of the body is one frame (?kind=missed as above)
          POST /control/drop     cuts every open socket without a close
          POST /control/close    closes every open socket with ?code=1001
          POST /control/forget   getLastMessages brings nothing of what was sent so far
          POST /control/set      ?reply=, ?topics=, ?refuse=, ?cap=, ?expiry_offset=, ?answer_after= as the flags below;
                                 ?enabled=a,b: the topics that are sent; ?closed=1: sockets are answered with 503;
                                 ?token=401|429|500|html|hang: what the token endpoints answer instead; ?token=ok ends that
          GET  /control/stats
          GET  /control/kept     [[moment in Unix seconds, text], …]

Whatever was sent (or missed) is kept for getLastMessages. The process ends when its standard input does.
"""

import argparse
import asyncio
import json
import os
import pathlib
import random
import secrets
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import websockets
from websockets.asyncio.server import serve

REPLIES = ["array", "messages", "data", "unwrapped", "none"]
TOPIC_REPLIES = ["texts", "objects", "topics", "data", "method", "none"]
AVAILABLE = ["complianceRecord", "identRequestsCreated", "identResult", "identResultKYC", "mismatches"]


class Feed:
    """What the HTTP threads and the socket's loop share. `lock` guards every field."""

    def __init__(self, options):
        self.options = options
        self.lock = threading.Lock()
        self.tokens = {}  # access token -> expiry, Unix seconds
        self.refresh_tokens = set()
        self.kept = []  # (moment, text): what was sent or missed
        self.open = set()
        self.played = False
        self.refuse = options.refuse
        self.reply = options.reply
        self.topics = options.topics
        self.enabled = AVAILABLE[:3]
        self.cap = options.cap
        self.closed = False
        self.token_fault = "ok"
        self.expiry_offset = options.expiry_offset
        self.answer_after = options.answer_after
        self.stats = {
            "tokens": 0, "refreshes": 0, "refused_logins": 0, "connects": 0, "refused_upgrades": 0,
            "sent": 0, "expired": 0, "requests": [], "user_fields": [], "token_times": [], "socket_gaps": [],
        }
        self.ended_at = None
        self.loop = None

    def count(self, name, by=1):
        with self.lock:
            self.stats[name] += by

    def grant(self):
        with self.lock:
            access = secrets.token_urlsafe(24)
            expiry = time.time() + self.options.token_life
            self.tokens[access] = expiry
            answer = {"accessToken": access, "exp": int(expiry + self.options.skew)}
            if not self.options.no_refresh:
                refresh = secrets.token_urlsafe(24)
                self.refresh_tokens.add(refresh)
                answer["refreshToken"] = refresh
            return answer

    def life_left(self, header):
        """Seconds that the bearer's token has left; None when it is unknown or over."""
        kind, _, token = (header or "").partition(" ")
        with self.lock:
            expiry = self.tokens.get(token) if kind == "Bearer" else None
        left = None if expiry is None else expiry - time.time()
        return left if left is not None and left > 0 else None


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    feed = None

    def log_message(self, *_):
        pass

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        feed, path = self.feed, urlsplit(self.path).path
        if path == "/v2/auth/check":
            left = feed.life_left(self.headers.get("Authorization"))
            if left is None:
                return self.answer(401, {"error": "Invalid request"})
            return self.answer(200, {"exp": int(time.time() + left)})
        if path == "/control/kept":
            with feed.lock:
                return self.answer(200, [[moment.timestamp(), text] for moment, text in feed.kept])
        if path == "/control/stats":
            with feed.lock:
                return self.answer(200, {**feed.stats, "open": len(feed.open), "kept": len(feed.kept)})
        return self.answer(404, {"code": "404", "info": "", "reason": "no such place"})

    def do_POST(self):
        feed, url = self.feed, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path in ("/v2/auth/token", "/v2/auth/refresh"):
            with feed.lock:
                feed.stats["token_times"].append(time.time())
                fault = feed.token_fault
            if fault != "ok":
                return self.token_trouble(fault)
        if url.path == "/v2/auth/token":
            return self.token(body)
        if url.path == "/v2/auth/refresh":
            return self.refresh(body)
        if url.path == "/control/send":
            kind = query.get("kind", "text")
            if kind == "missed":
                with feed.lock:
                    feed.kept.append((datetime.now(timezone.utc), body.decode()))
                return self.answer(200, {"sent": 0})
            frames = [body if kind == "binary" else body.decode()]
            return self.answer(200, {"sent": self.on_loop(send(feed, frames, keep=kind != "unkept"))})
        if url.path == "/control/lines" and query.get("kind") == "missed":
            with feed.lock:
                feed.kept.extend((datetime.now(timezone.utc), line) for line in body.decode().splitlines())
            return self.answer(200, {"sent": 0})
        if url.path == "/control/lines":
            return self.answer(200, {"sent": self.on_loop(send(feed, body.decode().splitlines()))})
        if url.path == "/control/drop":
            return self.answer(200, {"dropped": self.on_loop(drop(feed))})
        if url.path == "/control/close":
            return self.answer(200, {"closed": self.on_loop(close(feed, int(query.get("code", 1001))))})
        if url.path == "/control/forget":
            with feed.lock:
                feed.kept.clear()
            return self.answer(200, {})
        if url.path == "/control/set":
            with feed.lock:
                feed.reply = query.get("reply", feed.reply)
                feed.topics = query.get("topics", feed.topics)
                feed.enabled = query["enabled"].split(",") if "enabled" in query else feed.enabled
                feed.refuse = int(query.get("refuse", feed.refuse))
                feed.cap = int(query.get("cap", feed.cap))
                feed.closed = query.get("closed", "1" if feed.closed else "0") == "1"
                feed.token_fault = query.get("token", feed.token_fault)
                feed.expiry_offset = float(query.get("expiry_offset", feed.expiry_offset))
                feed.answer_after = float(query.get("answer_after", feed.answer_after))
            return self.answer(200, {})
        return self.answer(404, {"code": "404", "info": "", "reason": "no such place"})

    def token_trouble(self, fault):
        if fault == "hang":
            time.sleep(60)
            return None
        if fault == "html":
            page = b"<html><body>maintenance</body></html>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            return self.wfile.write(page)
        return self.answer(int(fault), {"code": fault, "info": "", "reason": "as asked for"})

    def token(self, body):
        feed, options = self.feed, self.feed.options
        fields = read_object(body)
        with feed.lock:
            feed.stats["user_fields"].append(sorted(fields))
            refused = feed.refuse > 0
            feed.refuse -= 1 if refused else 0
        known = fields.get(options.username_field) == options.username and fields.get("password") == options.password
        if refused or not known:
            feed.count("refused_logins")
            return self.answer(401, {"error": "Invalid request"})
        feed.count("tokens")
        return self.answer(200, feed.grant())

    def refresh(self, body):
        feed, token = self.feed, read_object(body).get("RefreshToken")
        with feed.lock:
            known = token in feed.refresh_tokens
            feed.refresh_tokens.discard(token)
        if not known or feed.options.refuse_refresh:
            return self.answer(400, {"error": "Invalid request"})
        feed.count("refreshes")
        return self.answer(200, feed.grant())

    def on_loop(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.feed.loop).result(timeout=30)


def read_object(body):
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


async def send(feed, frames, keep=True):
    for frame in frames:
        with feed.lock:
            text = frame.decode() if isinstance(frame, bytes) else frame
            if keep:
                feed.kept.append((datetime.now(timezone.utc), text))
            sockets = list(feed.open)
        for socket in sockets:
            try:
                await socket.send(frame)
                feed.count("sent")
            except websockets.ConnectionClosed:
                pass  # The reader is gone; the frame is kept, and getLastMessages brings it.
    return len(frames)


async def drop(feed):
    with feed.lock:
        sockets = list(feed.open)
    for socket in sockets:
        socket.transport.abort()
    for socket in sockets:
        await socket.wait_closed()
    return len(sockets)


async def close(feed, code):
    with feed.lock:
        sockets = list(feed.open)
    for socket in sockets:
        await socket.close(code)
    return len(sockets)


def upgrade(feed):
    def check(connection, request):
        if urlsplit(request.path).path != "/ws/connect":
            return connection.respond(404, "no such place\n")
        if feed.closed:
            return connection.respond(503, "closed\n")
        if feed.life_left(request.headers.get("Authorization")) is None:
            feed.count("refused_upgrades")
            return connection.respond(401, "unauthorised\n")
        return None

    return check


async def serve_socket(feed, socket):
    left = feed.life_left(socket.request.headers.get("Authorization")) or 0
    with feed.lock:
        feed.open.add(socket)
        feed.stats["connects"] += 1
        if feed.ended_at is not None and len(feed.open) == 1:
            feed.stats["socket_gaps"].append(time.time() - feed.ended_at)
        play, feed.played = not feed.played, True
    watch = asyncio.create_task(close_when_expired(feed, socket, left)) if feed.options.close_when_expired else None
    try:
        if play and feed.options.samples:
            for path in sorted(pathlib.Path(feed.options.samples).glob("*.json")):
                # The method samples are what a client sends.
                if not path.name.startswith("method_"):
                    await send(feed, [path.read_bytes().decode()])
        async for text in socket:
            await answer_method(feed, socket, text)
    except websockets.ConnectionClosed:
        pass
    finally:
        if watch:
            watch.cancel()
        with feed.lock:
            feed.open.discard(socket)
            feed.ended_at = time.time()


async def close_when_expired(feed, socket, left):
    await asyncio.sleep(max(0.0, left + feed.expiry_offset))
    feed.count("expired")
    await socket.close(4001, "token expired")


async def answer_method(feed, socket, text):
    request = json.loads(text)
    with feed.lock:
        feed.stats["requests"].append(request)
        reply, topics, enabled = feed.reply, feed.topics, feed.enabled
    method = request.get("method")
    if method in ("getAvailableTopics", "getEnabledTopics"):
        frame = topic_frame(method, topics, AVAILABLE if method == "getAvailableTopics" else enabled)
        if frame is not None:
            await socket.send(frame)
    elif method == "getLastMessages":
        await asyncio.sleep(feed.answer_after)
        messages = past_messages(feed, request)
        if reply == "unwrapped":
            for message in messages:
                await socket.send(message)
        elif reply == "array":
            await socket.send("[" + ",".join(messages) + "]")
        elif reply in ("messages", "data"):
            await socket.send('{"topic":"method","method":"getLastMessages","%s":[%s]}' % (reply, ",".join(messages)))


def topic_frame(method, shape, names):
    value = {
        "texts": names,
        "objects": [{"name": name} for name in names],
        "topics": {"topics": names},
        "data": {"data": [{"name": name, "enabled": True} for name in names]},
        "method": {"topic": "method", "method": method, "topics": names},
        "none": None,
    }[shape]
    return None if value is None else json.dumps(value)


def past_messages(feed, request):
    since = datetime.fromisoformat(request["since"]) - timedelta(seconds=feed.options.lead) if "since" in request else None
    topics = request.get("topics") or []
    with feed.lock:
        kept = list(feed.kept)
        feed.stats["answers"] = feed.stats.get("answers", 0) + 1
    chosen = [text for moment, text in kept if since is None or moment >= since]
    if topics:
        chosen = [text for text in chosen if read_object(text).get("topic") in topics]
    count = min(request.get("count", 100), feed.cap)
    chosen = chosen[-count:] if count else []
    if feed.options.shuffle:
        random.shuffle(chosen)
    return chosen


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--token-life", type=float, default=240.0, help="seconds")
    parser.add_argument("--no-refresh", action="store_true", help="token answers hold no refreshToken")
    parser.add_argument("--refuse-refresh", action="store_true", help="no refresh token is taken")
    parser.add_argument("--close-when-expired", action="store_true", help="a socket ends with its token")
    parser.add_argument("--username", default="partner")
    parser.add_argument("--username-field", default="username")
    parser.add_argument("--password", default="secret")
    parser.add_argument("--refuse", type=int, default=0, help="refuse so many logins with 401 first")
    parser.add_argument("--samples", help="a folder; its *.json are played verbatim to the first socket")
    parser.add_argument("--reply", choices=REPLIES, default="array", help="shape of getLastMessages' answer")
    parser.add_argument("--topics", choices=TOPIC_REPLIES, default="texts", help="shape of the topic lists")
    parser.add_argument("--skew", type=float, default=0.0, help="seconds by which exp runs ahead of the truth")
    parser.add_argument("--expiry-offset", type=float, default=0.0, help="seconds by which a socket ends after its token")
    parser.add_argument("--shuffle", action="store_true", help="past messages come in any order")
    parser.add_argument("--lead", type=float, default=0.0, help="seconds by which past messages begin before what was asked for")
    parser.add_argument("--answer-after", type=float, default=0.0, help="seconds until getLastMessages is answered")
    parser.add_argument("--cap", type=int, default=1000, help="no answer holds more messages")
    feed = Feed(parser.parse_args())
    feed.loop = asyncio.get_running_loop()

    Http.feed = feed
    http = ThreadingHTTPServer(("127.0.0.1", 0), Http)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, daemon=True).start()

    def end_with_stdin():
        while sys.stdin.buffer.read(4096):
            pass
        os._exit(0)

    threading.Thread(target=end_with_stdin, daemon=True).start()

    async def handler(socket):
        await serve_socket(feed, socket)

    async with serve(handler, "127.0.0.1", 0, process_request=upgrade(feed), compression=None, max_size=None) as server:
        ports = {"http": http.server_address[1], "socket": server.sockets[0].getsockname()[1]}
        print(json.dumps(ports), flush=True)
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main())
