"""The OpenAI SDK, unmodified, against a running devnet.

Usage: sdk.py BASE_URL API_KEY. Exits with a traceback at the first promise that does not hold.
"""

import base64
import http.client
import math
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import openai
from openai import OpenAI

BASE_URL, API_KEY = sys.argv[1], sys.argv[2]
CHAT, EMBED = "tiny-test-chat", "tiny-test-embed"
client = OpenAI(base_url=BASE_URL, api_key=API_KEY)
QUESTION = [{"role": "user", "content": "What holds a cloth together?"}]


def check(condition, what):
    assert condition, what
    print("ok", what)


def singles(numbers):
    """Decimals name the nearest single-precision number; that one is compared."""
    return struct.pack(f"<{len(numbers)}f", *numbers)


def chat():
    raw = client.chat.completions.with_raw_response.create(
        model=CHAT, messages=QUESTION, max_tokens=12, seed=7, temperature=0.8)
    answer = raw.parse()
    check(raw.headers["x-receipt-id"], "a chat answer names its receipt in a header")
    check(answer.choices[0].finish_reason in ("stop", "length"), "a chat answer ends")
    usage = answer.usage
    check(usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, "usage adds up")
    again = client.chat.completions.create(
        model=CHAT, messages=QUESTION, max_tokens=12, seed=7, temperature=0.8)
    check(again.choices[0].message.content == answer.choices[0].message.content,
          "the same seed gives the same answer")
    return answer.choices[0].message.content


def stream(whole):
    text, usage, last = "", None, None
    chunks = client.chat.completions.create(
        model=CHAT, messages=QUESTION, max_tokens=12, seed=7, temperature=0.8, stream=True,
        stream_options={"include_usage": True})
    for chunk in chunks:
        last = chunk
        if chunk.choices and chunk.choices[0].delta.content:
            text += chunk.choices[0].delta.content
        if chunk.usage is not None:
            usage = chunk.usage
    check(text == whole, "a streamed answer is the same text")
    check(usage is not None and usage.completion_tokens > 0, "a stream reports its usage")
    check(last.choices == [], "the last chunk carries usage and no choices")
    check(usage.model_extra.get("cost") is not None, "the last chunk carries the cost")


def embeddings():
    default = client.embeddings.create(model=EMBED, input=["one thread", "another thread"])
    check(len(default.data) == 2, "two inputs give two embeddings")
    plain = client.embeddings.create(
        model=EMBED, input=["one thread", "another thread"], encoding_format="float")
    check(singles(default.data[0].embedding) == singles(plain.data[0].embedding),
          "both encodings carry equal floats")
    length = math.sqrt(sum(x * x for x in plain.data[0].embedding))
    check(abs(length - 1.0) < 1e-3, "an embedding has length one")
    raw = client.embeddings.with_raw_response.create(
        model=EMBED, input="one thread", encoding_format="base64")
    packed = base64.b64decode(raw.http_response.json()["data"][0]["embedding"])
    check(packed == singles(plain.data[0].embedding), "base64 carries little-endian floats")


def errors():
    def code_of(call):
        try:
            call()
        except openai.APIStatusError as error:
            return error.status_code, error.code
        raise AssertionError("no error")

    stranger = OpenAI(base_url=BASE_URL, api_key="sk-nobody")
    check(code_of(lambda: stranger.models.list())[0] == 401, "a foreign key is a 401")
    check(code_of(lambda: client.embeddings.create(model="no-such", input="x"))[0] == 404,
          "an unknown model is a 404")
    check(code_of(lambda: client.chat.completions.create(model=CHAT, messages=[]))[0] == 400,
          "no messages are a 400")
    check(code_of(lambda: client.chat.completions.create(
        model=CHAT, messages=QUESTION, logprobs=True))[0] == 400, "an unsupported field is a 400")
    status, code = code_of(lambda: client.chat.completions.create(
        model=CHAT, messages=[{"role": "user", "content": "thread " * 20000}], max_tokens=4))
    check((status, code) == (400, "context_length_exceeded"), "input is never truncated")
    names = [model.id for model in client.models.list()]
    check(CHAT in names and EMBED in names, "the models are listed")


def retry():
    """A proxy loses the first answer; the SDK asks again by itself and pays once."""
    target = urlsplit(BASE_URL)
    receipts, attempts = [], []

    class Lossy(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            upstream = http.client.HTTPConnection(target.hostname, target.port)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
            upstream.request("POST", self.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
            attempts.append(self.headers.get("x-stainless-retry-count"))
            receipts.append(answer.getheader("x-receipt-id"))
            if len(attempts) == 1:
                self.send_response(503)
                self.send_header("content-length", "0")
                self.end_headers()
                return
            self.send_response(answer.status)
            self.send_header("content-type", answer.getheader("content-type"))
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Lossy)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    lossy = OpenAI(base_url=f"http://127.0.0.1:{proxy.server_port}{target.path}", api_key=API_KEY)
    answer = lossy.embeddings.create(model=EMBED, input="a retried thread")
    proxy.shutdown()
    check(len(answer.data) == 1 and attempts == ["0", "1"], "the SDK asked twice")
    check(receipts[0] and receipts[0] == receipts[1], "both tries have one receipt: billed once")


errors()
stream(chat())
embeddings()
retry()
print("all promises hold")
