"""The Python program of docs/protocol.md, as it stands there but for the address, and the tables of docs/scaling.md."""

import os
import pathlib
import re
import subprocess
import sys
import unittest

from server import DEADLINE, PUBLISH, ROOT, App, Server

BLOCK = r"\n```\w*\n(.*?)^```$"


class Documents(unittest.TestCase):
    def test_the_program_of_the_protocol_page_prints_what_the_page_says(self):
        page = (ROOT / "docs/protocol.md").read_text()
        program = re.search(r"<!-- file: client\.py -->" + BLOCK, page, re.DOTALL | re.MULTILINE)
        after = page[page.index("<!-- test python -->"):]
        output = re.search(r"<!-- output -->" + BLOCK, after, re.DOTALL | re.MULTILINE)
        server = Server()
        self.addCleanup(server.stop)
        app = App(server, "chat")
        path = pathlib.Path(server.home, "client.py")
        path.write_text(program[1].replace("127.0.0.1:8080/apps/chat", f"{server.host}/apps/{app.id}"))
        token = app.token("user0@example.com", [PUBLISH])
        ran = subprocess.run(
            [sys.executable, path],
            env={**os.environ, "ACCESS_TOKEN": token},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        self.assertEqual((ran.stdout, ran.returncode), (output[1], 0), ran.stderr)

    def test_the_tables_of_the_scaling_page_are_what_the_script_computes(self):
        page = (ROOT / "docs/scaling.md").read_text().splitlines()
        script = [sys.executable, ROOT / "tests/bench/scaling.py"]
        ran = subprocess.run(script, capture_output=True, text=True, timeout=DEADLINE, check=True)
        rows = [line for line in ran.stdout.splitlines() if line.startswith("|")]
        self.assertGreater(len(rows), 10)
        self.assertEqual([row for row in rows if row not in page], [])


if __name__ == "__main__":
    unittest.main()
