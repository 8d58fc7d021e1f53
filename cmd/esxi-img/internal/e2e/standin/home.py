"""What hosts phone home to."""
import http.server
import threading

from root import own_network


def serve(machine, config):
    """A server for phone_home; the first of its answers may be failures. Gives
    the end of its address: without a port where the machine has a network of
    its own, so that a host's firewall is known to let it through or not."""
    failures, posts = [config.get("fail_first", 0)], machine.result["phone_home"]
    own = own_network()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("utf-8", "replace")
            facts = machine.facts
            if own and facts["phase"] == "host" and not facts["host"]["firewall"].get("httpClient"):
                # Such a packet would have gone nowhere.
                self.close_connection = True
                return
            failures[0] -= 1
            failed = failures[0] >= 0
            if not failed:
                posts.append({"path": self.path, "body": body})
            self.send_response(500 if failed else 200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 80 if own else 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return b"" if own else b":%d" % server.server_address[1]
