//! What must not happen to an answer or an upload on its way: half an answer that looks whole, a
//! refusal that the client cannot read, events that are held back.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::backend::EVENTS;
use crate::client::{PREFIX, request};
use crate::http::{Fault, Head, Wire};
use crate::ledger::{GONE, SEEN, unix_us};
use crate::script::{Framing, Script};
use crate::stage::{Scene, Stage};
use crate::table::Row;
use crate::tally::Tally;

const PATIENCE: Duration = Duration::from_secs(3);
const UPLOAD_BYTES: usize = 8 * 1024 * 1024;

fn open_wire(scene: &Scene) -> io::Result<Wire> {
    Wire::connect(scene.proxy.port, PATIENCE)
}

/// s6: the endpoint dies after 10 of 100 bytes of the body. Lost is what looks whole, and what the
/// client waits for in vain.
pub(crate) fn cut(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    let rows: [(&str, &str, &[Script]); 3] = [
        (
            "s6-length",
            "an endpoint dies in a body with Content-Length",
            &[Script::Cut(Framing::Length, false), Script::Cut(Framing::Length, true)],
        ),
        (
            "s6-chunked",
            "in a chunked body",
            &[Script::Cut(Framing::Chunks, false), Script::Cut(Framing::Chunks, true)],
        ),
        (
            "s6-close",
            "in a body that ends with its connection (RST)",
            &[Script::Cut(Framing::Close, true)],
        ),
    ];
    let mut done = Vec::new();
    for (key, title, scripts) in rows {
        let mut tally = Tally::default();
        for script in scripts {
            let scene = stage.open(&[*script])?;
            for n in 0..3 {
                one_cut(&scene, n, &mut tally)?;
            }
        }
        done.push(Row::new(key, title, tally));
    }
    Ok(done)
}

fn one_cut(scene: &Scene, n: u32, tally: &mut Tally) -> io::Result<()> {
    let begun = Instant::now();
    let until = begun + PATIENCE;
    let mut wire = open_wire(scene)?;
    wire.send(&request(false, &format!("g{n}")))?;
    let fault = match wire.read_final_head(until) {
        Err(fault) => Some(fault),
        // An error of the proxy's own is honest, too.
        Ok((head, _)) if head.status() >= 500 => Some(Fault::Closed),
        Ok((head, _)) => wire.read_answer_body(&head, until).fault,
    };
    tally.timed(begun.elapsed());
    match fault {
        None => tally.lose("looked whole"),
        Some(Fault::Late) => tally.lose("not told"),
        Some(_) => {}
    }
    Ok(())
}

/// s7: 413 while 8 MB are on their way. The client reads while it writes.
pub(crate) fn early_refusal(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    let scene = stage.open(&[Script::TooLarge])?;
    let mut tally = Tally::default();
    for n in 0..5 {
        let begun = Instant::now();
        let mut wire = open_wire(&scene)?;
        let writer = wire.stream().try_clone()?;
        let upload = thread::spawn(move || Wire::new(writer).and_then(|wire| send_long(wire, n)));
        let status = wire.read_final_head(begun + PATIENCE).map(|(head, _)| head.status());
        tally.timed(begun.elapsed());
        match status {
            Ok(413) => {}
            Ok(status) => tally.lose(status.to_string()),
            Err(fault) => tally.lose(fault.word()),
        }
        drop(wire.half_close());
        drop(wire);
        // That the upload breaks off is what should happen.
        drop(upload.join());
    }
    Ok(vec![Row::new("s7", "413 while 8 MB are uploaded: 5 times", tally)])
}

fn send_long(mut wire: Wire, n: u32) -> io::Result<()> {
    let fields = format!("Host: chaos.test\r\nContent-Length: {UPLOAD_BYTES}\r\n");
    wire.send(format!("POST {PREFIX}up{n} HTTP/1.1\r\n{fields}\r\n").as_bytes())?;
    let piece = [b'x'; 64 * 1024];
    for _ in 0..UPLOAD_BYTES / piece.len() {
        wire.send(&piece)?;
    }
    Ok(())
}

/// s8: the client goes. How soon does the endpoint know?
pub(crate) fn client_gone(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    let post =
        format!("POST {PREFIX}n HTTP/1.1\r\nHost: chaos.test\r\nContent-Length: 1000\r\n\r\n");
    let upload = gone(stage, Script::Hold, post.as_bytes(), |_| {})?;
    let download = gone(stage, Script::Stream, &request(false, "n"), |wire| {
        // The answer is under way; what is left unread resets the connection.
        let _ = wire.read_head(Instant::now() + PATIENCE);
        thread::sleep(Duration::from_millis(50));
    })?;
    let waiting = gone(stage, Script::Hold, &request(false, "n"), |_| {})?;
    Ok(vec![
        Row::new("s8-upload", "the client goes in its upload: endpoint told", upload),
        Row::new("s8-download", "the client goes in its download: endpoint told", download),
        Row::new("s8-wait", "the client ends its side and waits: endpoint told", waiting).info(),
        Row::new("s8-half", "the same, and does want its answer", half_closed(stage)?),
    ])
}

fn gone(
    stage: &Stage<'_>,
    script: Script,
    request: &[u8],
    middle: impl FnOnce(&mut Wire),
) -> io::Result<Tally> {
    let scene = stage.open(&[script])?;
    let mut wire = open_wire(&scene)?;
    wire.send(request)?;
    middle(&mut wire);
    thread::sleep(Duration::from_millis(100));
    let left_us = unix_us();
    drop(wire);
    let until = Instant::now() + PATIENCE;
    let mut tally = Tally::default();
    loop {
        let records = scene.records();
        if let Some(at_us) = records.at_us(GONE, "n") {
            tally.timed(Duration::from_micros(at_us.saturating_sub(left_us)));
            return Ok(tally);
        }
        if Instant::now() > until {
            if records.at_us(SEEN, "n").is_some() {
                tally.timed(PATIENCE);
                tally.lose("not told in 3 s");
            } else {
                tally.timed(Duration::ZERO);
                tally.note("it never saw the request");
            }
            return Ok(tally);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// A client may end its side after its request and wait for the answer (RFC 9112 9.6).
fn half_closed(stage: &Stage<'_>) -> io::Result<Tally> {
    let scene = stage.open(&[Script::Answer(300)])?;
    let mut tally = Tally::default();
    for n in 0..3 {
        let begun = Instant::now();
        let mut wire = open_wire(&scene)?;
        wire.send(&request(false, &format!("half{n}")))?;
        wire.half_close()?;
        let answer = wire.read_final_head(begun + PATIENCE).map(|(head, _)| head.status());
        tally.timed(begun.elapsed());
        match answer {
            Ok(200) => {}
            Ok(status) => tally.lose(status.to_string()),
            Err(fault) => tally.lose(fault.word()),
        }
    }
    Ok(tally)
}

/// s9: events, each with the time at which it was sent.
pub(crate) fn events(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    let scene = stage.open(&[Script::Events])?;
    let mut wire = open_wire(&scene)?;
    wire.send(&request(false, "events"))?;
    let until = Instant::now() + PATIENCE;
    let mut tally = Tally::default();
    let mut delays = Vec::new();
    if wire.read_final_head(until).is_ok() {
        while let Ok(chunk) = wire.read_chunk(until) {
            let now_us = unix_us();
            let text = String::from_utf8_lossy(&chunk).into_owned();
            let stamps = text.lines().filter_map(|line| line.strip_prefix("data: "));
            let sent: Vec<u64> = stamps.filter_map(|stamp| stamp.parse().ok()).collect();
            if sent.is_empty() {
                break;
            }
            let micros = |sent_us| Duration::from_micros(now_us.saturating_sub(sent_us));
            delays.extend(sent.into_iter().map(micros));
        }
    }
    for delay in &delays {
        tally.timed(*delay);
    }
    for _ in delays.len()..EVENTS as usize {
        tally.timed(PATIENCE);
        tally.lose("event missing");
    }
    if let Some(first) = delays.first() {
        tally.note(format!("first after {:.1} ms", first.as_secs_f64() * 1e3));
    }
    Ok(vec![Row::new("s9", "an event stream: delay of its events", tally)])
}

/// s10: interim answers.
pub(crate) fn interim(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    let hints = three(stage, Script::Hints, b"", 200, 103)?;
    let fields = b"Expect: 100-continue\r\nContent-Length: 5\r\n";
    let deny = three(stage, Script::Deny, fields, 401, 100)?;
    Ok(vec![
        Row::new("s10-hints", "103 Early Hints, then 200: 3 times", hints),
        Row::new("s10-expect", "Expect: 100-continue, answered 401 at once: 3 times", deny),
    ])
}

fn three(
    stage: &Stage<'_>,
    script: Script,
    fields: &[u8],
    wanted: u16,
    interim: u16,
) -> io::Result<Tally> {
    let scene = stage.open(&[script])?;
    let mut tally = Tally::default();
    let mut seen = 0;
    for n in 0..3 {
        let begun = Instant::now();
        let mut wire = open_wire(&scene)?;
        let method = if fields.is_empty() { "GET" } else { "POST" };
        let line = format!("{method} {PREFIX}e{n} HTTP/1.1\r\nHost: chaos.test\r\n");
        wire.send(&[line.as_bytes(), fields, b"\r\n"].concat())?;
        let (answer, was_interim) = patient(&mut wire, begun + PATIENCE, interim);
        tally.timed(begun.elapsed());
        seen += u32::from(was_interim);
        match answer {
            Ok(head) if head.status() == wanted => {}
            Ok(head) => tally.lose(head.status().to_string()),
            Err(fault) => tally.lose(fault.word()),
        }
    }
    tally.note(format!("{seen} of 3 saw a {interim}"));
    Ok(tally)
}

/// The final answer; a client that is told to continue sends its body first.
fn patient(wire: &mut Wire, until: Instant, interim: u16) -> (Result<Head, Fault>, bool) {
    let mut seen = false;
    loop {
        match wire.read_head(until) {
            Ok(head) if (100..200).contains(&head.status()) => {
                seen |= head.status() == interim;
                if head.status() == 100 && wire.send(b"order").is_err() {
                    return (Err(Fault::Reset), seen);
                }
            }
            other => return (other, seen),
        }
    }
}
