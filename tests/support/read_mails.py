"""Prints what Python's email package reads in each mail of the directories given.

One JSON object a line: the file's name, the subject, and the parts that are not
containers with type, SHA-256 of the decoded bytes and text. `null` where Python cannot
say: an unknown charset, a header that is not ASCII, an attached message.
"""

import email
import email.policy
import hashlib
import json
import os
import sys

POLICY = email.policy.default


def text_of(part):
    if part.get_content_maintype() != "text":
        return None
    try:
        text = part.get_content()
    except (LookupError, UnicodeError, KeyError, ValueError, AttributeError):
        return None
    return None if "\ufffd" in text else text.replace("\r\n", "\n").replace("\r", "\n").rstrip()


def leaves(part):
    if part.get_content_maintype() == "message":
        yield {"type": part.get_content_type(), "sha256": None, "text": None}
    elif part.is_multipart():
        for inner in part.iter_parts() if hasattr(part, "iter_parts") else part.get_payload():
            yield from leaves(inner)
    else:
        content = part.get_payload(decode=True) or b""
        yield {
            "type": part.get_content_type(),
            "sha256": hashlib.sha256(content).hexdigest(),
            "text": text_of(part),
        }


def subject_of(mail):
    try:
        subject = mail["Subject"]
    except Exception:
        return None
    if subject is None or "\ufffd" in subject:
        return None
    if any(0xD800 <= ord(letter) < 0xE000 for letter in subject):
        return None
    return " ".join(subject.split())


def read(path):
    with open(path, "rb") as file:
        content = file.read()
    mail = email.message_from_bytes(content, policy=POLICY)
    parts = list(leaves(mail))
    if mail["Content-Type"] is None and not (mail.get_payload(decode=True) or b"").strip():
        parts = []
    return {"name": os.path.basename(path), "subject": subject_of(mail), "parts": parts}


for directory in sys.argv[1:]:
    for name in sorted(os.listdir(directory)):
        if name.endswith(".eml"):
            try:
                print(json.dumps(read(os.path.join(directory, name))))
            except Exception as error:
                print(json.dumps({"name": name, "error": repr(error)}))
