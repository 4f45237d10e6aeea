//! The mails that are sent: an MM4 forward request of a wanted size.
//!
//! The header fields are those that a provider's MMS centre writes, the body is
//! base64 in lines of 76, as pictures come. No line begins with a dot. The
//! size is that of the content with its CRLFs, without the terminating dot.

/// Header fields of an MM4_forward.REQ.
const HEAD: &str = "\
From: +972500000001/TYPE=PLMN@mms.example.net\r\n\
To: +972500000002/TYPE=PLMN@mms.example.net\r\n\
Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n\
Message-ID: <bench@mms.example.net>\r\n\
X-Mms-3GPP-MMS-Version: 6.10.0\r\n\
X-Mms-Message-Type: MM4_forward.REQ\r\n\
X-Mms-Transaction-ID: \"bench\"\r\n\
X-Mms-Message-ID: \"bench\"\r\n\
X-Mms-Originator-System: system-user@mms.example.net\r\n\
X-Mms-Ack-Request: No\r\n\
MIME-Version: 1.0\r\n\
Content-Type: image/jpeg\r\n\
Content-Transfer-Encoding: base64\r\n\
\r\n";
const LINE: &[u8] =
    b"/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAAUDBAQEAwUEBAQFBQUGBwwIBwcHBw8LCwkMEQ8SEhEP\r\n";
/// About what a receiver writes before the content: the trace.
const TRACE: usize = 350;

/// A mail of a size.
pub struct Mail {
    /// As it is sent, with the dot that ends it.
    pub sent: Vec<u8>,
    /// As it is stored, with as many bytes of trace as mm4d writes.
    pub stored: Vec<u8>,
    /// Bytes of content.
    pub bytes: usize,
}

impl Mail {
    /// A mail with exactly that many bytes of content; at least those of its header.
    pub fn new(bytes: usize) -> Self {
        let mut sent = Vec::with_capacity(bytes + 3);
        sent.extend_from_slice(HEAD.as_bytes());
        while sent.len() < bytes {
            sent.extend_from_slice(LINE);
        }
        sent.truncate(bytes.max(HEAD.len()));
        let end = sent.len();
        // A cut may have left a lone CR or none; the last line ends as it must.
        sent[end - 3..].copy_from_slice(b"x\r\n");
        let mut stored = vec![b'T'; TRACE];
        stored.extend_from_slice(&sent);
        sent.extend_from_slice(b".\r\n");
        Self {
            sent,
            stored,
            bytes,
        }
    }
}
