"""A server that misbehaves, for the tests of `firn torture`: fake-server.py MODE PORT DIR.

refuse      PING is answered, everything else with an error
no-auth     everything is answered with NOAUTH
no-resp     everything is answered with a line of HTTP
quiet       connections are accepted, and nothing is answered
drop        reads find nothing, the tool's first SET is accepted, and a connection that writes is closed
stall       as drop, but writes are never answered
hang        as drop at the first start in a folder; at later ones PING is answered, and nothing else
slow        as drop, but writes are accepted, after 300 ms
break       as drop in a folder named "first"; in others the start ends with a reason
"""

import os
import socketserver
import sys
import time

mode, port, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
seen = os.path.join(folder, "seen")
later = os.path.exists(seen)
open(seen, "w").close()
if mode == "break" and not folder.endswith("first"):
    sys.exit("this folder is not to my taste")


READS = {
    b"SELECT": b"+OK\r\n",
    b"GET": b"$-1\r\n",
    b"PEXPIRETIME": b":-2\r\n",
    b"BGSAVE": b"+OK\r\n",
    b"BGREWRITEAOF": b"+OK\r\n",
    **dict.fromkeys([b"LRANGE", b"SMEMBERS", b"ZRANGE", b"HGETALL", b"XRANGE", b"KEYS"], b"*0\r\n"),
}


class Connection(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            head = self.rfile.readline()
            if not head.startswith(b"*"):
                return
            words = []
            for _ in range(int(head[1:])):
                length = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(length + 2)[:-2])
            answer = self.answer(words)
            if answer is None:
                return
            self.wfile.write(answer)

    def answer(self, words):
        if mode == "quiet":
            return b""
        if mode == "no-auth":
            return b"-NOAUTH Authentication required.\r\n"
        if mode == "no-resp":
            return b"HTTP/1.1 400 Bad Request\r\n"
        if words[0] == b"PING":
            return b"+PONG\r\n"
        if mode == "refuse":
            return b"-ERR not in the mood\r\n"
        if mode == "hang" and later:
            return b""
        if words[:2] == [b"SET", b"firn-torture"]:
            return b"+OK\r\n"
        if words[0] == b"DEL" and words[1].startswith(b"log:"):
            return b":0\r\n"
        if mode == "slow" and words[0] not in READS:
            time.sleep(0.3)
            return b"+OK\r\n"
        return READS.get(words[0], b"" if mode == "stall" else None)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


Server(("127.0.0.1", port), Connection).serve_forever()
