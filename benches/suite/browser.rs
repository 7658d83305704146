//! Thirty fields, as a browser with a few cookies and a page behind a login sends them.

/// With Host these are thirty. None is hop-by-hop, so each must arrive at the origin.
pub(crate) const FIELDS: [(&str, &str); 29] = [
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"),
    ("Accept-Language", "de-DE,de;q=0.8,en-US;q=0.5,en;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Referer", "https://shop.example.org/catalogue/garden/chairs?sort=price&page=3"),
    ("Origin", "https://shop.example.org"),
    ("DNT", "1"),
    ("Sec-GPC", "1"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-Fetch-User", "?1"),
    ("Sec-CH-UA", "\"Chromium\";v=\"126\", \"Not)A;Brand\";v=\"24\", \"Browser\";v=\"126\""),
    ("Sec-CH-UA-Mobile", "?0"),
    ("Sec-CH-UA-Platform", "\"Linux\""),
    ("Sec-CH-UA-Arch", "\"x86\""),
    ("Sec-CH-UA-Bitness", "\"64\""),
    ("Upgrade-Insecure-Requests", "1"),
    ("Cache-Control", "no-cache"),
    ("Pragma", "no-cache"),
    ("Priority", "u=0, i"),
    ("If-None-Match", "\"65f1c0de-1a2b3\""),
    ("If-Modified-Since", "Tue, 11 Nov 2025 08:12:31 GMT"),
    ("Cookie", "session=3f9c1b7a6e5d4c2b1a0f9e8d7c6b5a49; theme=dark; basket=17; seen=2025-11-11"),
    ("X-Requested-With", "XMLHttpRequest"),
    ("X-CSRF-Token", "b64d1f3a9c7e42d8a5f0e1c2d3b4a596"),
    ("X-Request-Id", "0b6c7f0e-1e0e-4c55-9a51-3a2f5f2f6d11"),
    ("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("Authorization", "Bearer c2hvcDpnYXJkZW4tY2hhaXJzLWFuZC10YWJsZXMtMjAyNQ"),
];

/// True if every one of them is in `fields`, with its value.
pub(crate) fn all_there(fields: &[httparse::Header<'_>]) -> bool {
    let has = |(name, value): &(&str, &str)| {
        fields.iter().any(|f| f.name.eq_ignore_ascii_case(name) && f.value == value.as_bytes())
    };
    FIELDS.iter().all(has)
}
