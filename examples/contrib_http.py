"""The older API, `pants.contrib.http`: a server, and a client that asks it. New programs use `pants.http`."""

from pants.contrib.http import HTTPClient, HTTPRequest, HTTPResponse, HTTPServer


def handle_request(request: HTTPRequest) -> None:
    name = request.get.get("name", ["nobody"])[0]
    request.send_response(f"Hello, {name}!", content_type="text/plain; charset=utf-8")


server = HTTPServer(handle_request).listen(("127.0.0.1", 0))
url = f"http://127.0.0.1:{server.local_address[1]}/"
client = HTTPClient()


@client.get(url, {"name": "World"})
def handle_response(response: HTTPResponse) -> None:
    print(response.http_version, response.status, response.status_text, response.body)


client.process()

for response in client.get(url, {"name": "Ada"}).get(url, {"name": "Grace"}).fetch():
    print(response.body)

client.close()
server.close()
