"""Mails for the checks in a browser, as mm4d would have spooled them.

    mails.py joined DIR       a request, its answer and a report on it
    mails.py hostile DIR      mails that try to be active
    mails.py many N DIR SIDE  N mails, most with a picture of SIDE x SIDE pixels: 45
                              of them have 8 kB, 158 have 100 kB"""
import base64
import os
import random
import struct
import sys
import zlib


def write(root, at, account, mail):
    for name in 'tmp', 'new', 'cur':
        os.makedirs(f'{root}/{name}', exist_ok=True)
    hours, minutes, seconds = at // 3600 % 24, at // 60 % 60, at % 60
    day = at // 86400
    ident = f'2026{1 + day // 28:02}{1 + day % 28:02}T{hours:02}{minutes:02}{seconds:02}.000000Z-7-{at:06}@mm4.example.com'
    trace = (f'Return-Path: <+972500000001/TYPE=PLMN@mms.example.net>\r\n'
             f'X-Envelope-To: <+972500000002/TYPE=PLMN@mms.example.com>\r\nX-MM4-System-ID: {account}\r\n'
             f'Received: from mms.example.net ([192.0.2.1]) by mm4.example.com (mm4d) with ESMTPSA\r\n'
             f'  id {ident}; Tue, 25 Jan 2022 22:17:44 +0000\r\n')
    with open(f'{root}/tmp/{ident}', 'wb') as file:
        file.write(trace.encode() + mail)
    os.rename(f'{root}/tmp/{ident}', f'{root}/new/{ident}.eml')


def mm4(kind, transaction, message, more):
    return (f'X-Mms-3GPP-MMS-Version: 6.3.0\r\nX-Mms-Message-Type: {kind}\r\n'
            f'X-Mms-Transaction-ID: {transaction}\r\nX-Mms-Message-ID: {message}\r\n{more}')


def joined(root):
    write(root, 1000, 'carrier', mm4(
        'MM4_forward.REQ', 'J1', 'JM1', 'X-Mms-Ack-Request: Yes\r\nFrom: +972500000001/TYPE=PLMN\r\n'
        'To: +972500000002/TYPE=PLMN\r\nSubject: Dinner on Friday?\r\nContent-Type: text/x-vcard; name=dana.vcf\r\n'
        '\r\nBEGIN:VCARD\r\nVERSION:3.0\r\nFN:Dana Levi\r\nORG:Example Trains\r\nTEL;TYPE=CELL:+972500000002\r\n'
        'EMAIL:dana@example.com\r\nEND:VCARD\r\n').encode())
    write(root, 1001, 'carrier', mm4(
        'MM4_forward.RES', 'J1', 'JM1', 'From: system-user\r\nTo: postmaster\r\nX-Mms-Request-Status-Code: Ok\r\n\r\n').encode())
    write(root, 1060, 'other-carrier', mm4(
        'MM4_delivery_report.REQ', 'J2', 'JM1', 'From: +972500000002/TYPE=PLMN\r\nTo: +972500000001/TYPE=PLMN\r\n'
        'X-Mms-MM-Status-Code: Retrieved\r\n\r\n').encode())


SCRIPT = '<script>window.hostile=1;document.title="hostile ran"</script>'
SVG = f'<svg xmlns="http://www.w3.org/2000/svg" onload="window.hostile=1">{SCRIPT}<image href="http://127.0.0.1:9/x"/></svg>'
HTML = (f'<p>hello</p>{SCRIPT}<img src="http://127.0.0.1:9/x" onerror="window.hostile=1">'
        '<style>@import "http://127.0.0.1:9/s";body{background:url(http://127.0.0.1:9/b)}</style>'
        '<a href="javascript:window.hostile=1">a</a><iframe src="data:text/html,x"></iframe>'
        '</article></details></main><h1>outside</h1>')


def hostile(root):
    for at, (kind, body) in enumerate([
            ('text/html', HTML), ('image/svg+xml; name=x.svg', SVG), ('image/png; name=x.png', SVG),
            ('text/plain', HTML + SVG), ('application/xhtml+xml', HTML), ('text/css', 'body{display:none}'),
            ('text/x-vcard', f'BEGIN:VCARD\r\nFN:{SCRIPT}\r\nURL:javascript:window.hostile=1\r\nNOTE:{HTML}\r\nEND:VCARD'),
            ('application/smil', f'<smil><par><img src="http://127.0.0.1:9/x"/><text src="javascript:x"/></par></smil>{SCRIPT}')]):
        subject = f'"><img src=x onerror=window.hostile=1>{SCRIPT}\' onload=\'window.hostile=1'
        write(root, 2000 + at, f'carrier', (mm4(
            'MM4_forward.REQ', f'H{at}"><b>', f'HM{at}', f'From: {SCRIPT}@example.com\r\nTo: +972500000002/TYPE=PLMN\r\n'
            f'Subject: {subject}\r\nContent-Type: {kind}\r\n\r\n') + body + '\r\n').encode())


def png(side, seed):
    noise = random.Random(seed)
    rows = b''.join(
        b'\0' + bytes(noise.randrange(256) if noise.random() < .5 else value
                      for x in range(side) for value in (255 * x // side, 255 * y // side, 128))
        for y in range(side))

    def chunk(kind, body):
        return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0))
            + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))


def many(count, root, side):
    pictures = [png(side, seed) for seed in range(4)]
    for at in range(count):
        if at % 5 == 4:
            mail = mm4('MM4_forward.RES', f'T{at - 1}', f'M{at - 1}',
                       'From: system-user\r\nTo: postmaster\r\nX-Mms-Request-Status-Code: Ok\r\n\r\n').encode()
        else:
            mail = (mm4('MM4_forward.REQ', f'T{at}', f'M{at}',
                        f'X-Mms-Ack-Request: Yes\r\nFrom: +9725{at:08}/TYPE=PLMN\r\nTo: +972500000002/TYPE=PLMN\r\n'
                        f'Subject: Holiday {at}\r\nContent-Type: multipart/mixed; boundary=q\r\n\r\n'
                        f'--q\r\nContent-Type: text/plain; name=t.txt\r\n\r\nThe text of message {at}, needle{at}.\r\n'
                        '--q\r\nContent-Type: image/png; name=p.png\r\nContent-Transfer-Encoding: base64\r\n\r\n').encode()
                    # No two are alike, as a browser keeps equal data once.
                    + base64.encodebytes(pictures[at % 4] + os.urandom(len(pictures[0]) // 2)).replace(b'\n', b'\r\n')
                    + b'--q--\r\n')
        write(root, 60 * at, 'carrier-one' if at % 3 else 'carrier-two', mail)


if __name__ == '__main__':
    command, *rest = sys.argv[1:]
    {'joined': joined, 'hostile': hostile, 'many': lambda n, root, side: many(int(n), root, int(side))}[command](*rest)
