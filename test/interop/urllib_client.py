"""Sends requests with urllib for the tests of HTTP.

Without arguments: for each line of its input, a request as a JSON object, it writes the
answer as one. With "follow URL HEADERS" it writes the lines of the answer as they arrive.
With "upload URL HEADERS" it sends its input as the body, which urllib does to the end before
it reads, and then writes the lines of the answer.
"""

import json
import sys
import urllib.error
import urllib.request


def send(request):
    try:
        return urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:  # which is a response too
        return error


def serve():
    for line in sys.stdin:
        asked = json.loads(line)
        body = asked.get("body")
        request = urllib.request.Request(
            asked["url"],
            method=asked["method"],
            headers=asked["headers"],
            data=None if body is None else body.encode(),
        )
        try:
            with send(request) as response:
                answer = {
                    "status": response.status,
                    "headers": {name.lower(): value for name, value in response.headers.items()},
                    "body": response.read().decode(),
                }
        except OSError as error:
            answer = {"failed": str(error)}
        print(json.dumps(answer), flush=True)


def show(request):
    with send(request) as response:
        for line in response:
            sys.stdout.buffer.write(line)
            sys.stdout.flush()


if len(sys.argv) == 1:
    serve()
else:
    mode, url, headers = sys.argv[1:]
    request = urllib.request.Request(url, headers=json.loads(headers))
    if mode == "upload":
        # An iterable of unknown length, which urllib sends in chunks.
        request.data = iter(sys.stdin.buffer)
    show(request)
