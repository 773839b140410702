"""Runs a command on a terminal and answers its menus: answer.py MENU COMMAND...

Each time that MENU appears, its second entry is taken: one arrow down, then Enter. Exits as the
command does.
"""
import os
import pty
import sys

menu, command = sys.argv[1].encode(), sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    os.execvp(command[0], command)
unanswered = b""
while True:
    try:
        text = os.read(terminal, 4096)
    except OSError:  # Linux says so when the other side is closed.
        break
    if not text:
        break
    sys.stdout.buffer.write(text)
    unanswered += text
    if menu in unanswered:
        unanswered = b""
        os.write(terminal, b"\x1b[B\r")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
