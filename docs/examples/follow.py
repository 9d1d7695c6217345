"""Follows a job through a gateway: python3 follow.py http://127.0.0.1:8080/jobs MODEL/REQUEST_ID"""

import json
import random
import sys
import time
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen


def follow(url, job):
    """Yields the transitions of a job to its end, each once, whatever happens to the connection."""
    query = {"job": job}
    while True:
        request = Request(f"{url}/events?{urlencode(query)}", headers={"accept": "application/x-ndjson"})
        try:
            with urlopen(request, timeout=45) as response:
                for line in response:
                    event = json.loads(line)
                    if event["_tag"] == "WatchFailed":
                        raise RuntimeError(event["error"]["message"])
                    if "cursor" in event:
                        query["from"] = event["cursor"]
                        yield event
                    if event["_tag"] == "End":
                        return
                if response.status == 204:
                    return
        except HTTPError as error:
            if error.code < 500:
                raise
        except (HTTPException, OSError, ValueError):
            pass  # the connection broke, perhaps within a line
        time.sleep(random.uniform(1, 5))


if __name__ == "__main__":
    for transition in follow(*sys.argv[1:]):
        print(transition["_tag"], flush=True)
