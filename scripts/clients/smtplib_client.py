"""Sends one mail with Python's smtplib; a part of scripts/check-clients.sh.

Usage: smtplib_client.py PORT plain|tls1.2|tls1.3 PLAIN|LOGIN SENDER RECIPIENT FILE

The system id is demo; its key comes by MM4_PASSWORD, the CA by MM4_CA. Prints the
server's last reply, and ends with a traceback when anything is refused.
"""

import os
import smtplib
import ssl
import sys

TIMEOUT = 30  # seconds


def connect(port, channel):
    """An open connection, its certificate checked when there is one."""
    if channel == "plain":
        return smtplib.SMTP("127.0.0.1", port, "client.example.net", TIMEOUT)
    version = ssl.TLSVersion["TLSv" + channel[3:].replace(".", "_")]
    context = ssl.create_default_context(cafile=os.environ["MM4_CA"])
    context.minimum_version = context.maximum_version = version
    return smtplib.SMTP_SSL(
        "127.0.0.1", port, "client.example.net", timeout=TIMEOUT, context=context
    )


def main():
    port, channel, mechanism, sender, recipient, path = sys.argv[1:]
    with open(path, "rb") as file:
        mail = file.read()
    with connect(int(port), channel) as smtp:
        smtp.ehlo_or_helo_if_needed()
        smtp.user, smtp.password = "demo", os.environ["MM4_PASSWORD"]
        smtp.auth(mechanism, getattr(smtp, "auth_" + mechanism.lower()))
        # sendmail() hides the reply to the data, so it is done by hand.
        for code, reply in (
            smtp.mail(sender, [f"size={len(mail)}", "body=8bitmime"]),
            smtp.rcpt(recipient),
            smtp.data(mail),
        ):
            if code != 250:
                raise smtplib.SMTPResponseException(code, reply)
    print(reply.decode())


main()
