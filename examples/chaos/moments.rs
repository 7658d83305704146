//! The moments in which requests are lost, one by one: an endpoint refuses, dies, swallows.

use std::io;
use std::thread;
use std::time::Duration;

use crate::backend::BlackHole;
use crate::client::Verdict;
use crate::process::free_port;
use crate::script::Script;
use crate::stage::{PATIENCE, Scene, Stage};
use crate::table::Row;
use crate::tally::Excuse;

const GOOD: Script = Script::Answer(0);

/// s1: nothing listens on one of two endpoints.
pub(crate) fn refused(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    let scene = stage.open_with(&[GOOD], &[free_port()?])?;
    let mut verdicts = scene.ask(20, false, PATIENCE);
    verdicts.extend(scene.ask(10, true, PATIENCE));
    let tally = scene.tally(&verdicts, &Excuse::None);
    Ok(vec![Row::new("s1", "A refuses connections: 20 GET, 10 POST", tally)])
}

fn twelve(stage: &Stage<'_>, is_post: bool) -> io::Result<(Scene, Vec<Verdict>)> {
    let scene = stage.open(&[Script::Drop, GOOD])?;
    let verdicts = scene.ask(12, is_post, PATIENCE);
    Ok((scene, verdicts))
}

/// s2: one of two endpoints reads every request and closes. A POST that it read may have been
/// executed: an honest 502 is the best there is, and not to ask that endpoint again.
pub(crate) fn dropped(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    let (gets, get_verdicts) = twelve(stage, false)?;
    let (posts, post_verdicts) = twelve(stage, true)?;
    let get = gets.tally(&get_verdicts, &Excuse::None);
    let post = posts.tally(&post_verdicts, &Excuse::Executed);
    Ok(vec![
        Row::new("s2-get", "A reads the request and closes: 12 GET", get),
        Row::new("s2-post", "the same: 12 POST", post),
    ])
}

/// s3: every connection dies when its second request arrives.
pub(crate) fn stale(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (key, title, is_post) in [
        ("s3-get", "a kept connection dies as its next request arrives: 24 GET", false),
        ("s3-post", "the same: 24 POST", true),
    ] {
        let scene = stage.open(&[Script::DropSecond, Script::DropSecond])?;
        let verdicts = scene.ask(24, is_post, PATIENCE);
        rows.push(Row::new(key, title, scene.tally(&verdicts, &Excuse::None)));
    }
    Ok(rows)
}

/// s4: both endpoints are down for a second while 5 requests come in; 12 more come after.
pub(crate) fn both_down(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    let mut scene = stage.open(&[GOOD, GOOD])?;
    scene.ask(4, false, PATIENCE);
    for backend in &mut scene.backends {
        backend.kill();
    }
    let waiting: Vec<_> = (0..5)
        .map(|n| {
            let mut client = scene.client(PATIENCE);
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(20 * n));
                client.ask(n % 2 == 1, &format!("waits{n}"))
            })
        })
        .collect();
    thread::sleep(Duration::from_secs(1));
    for backend in &mut scene.backends {
        backend.start()?;
    }
    let waited: Vec<_> = waiting.into_iter().filter_map(|client| client.join().ok()).collect();
    let after: Vec<_> =
        (0..12).map(|n| scene.client(PATIENCE).ask(n % 2 == 1, &format!("after{n}"))).collect();
    let first = scene.tally(&waited, &Excuse::None);
    let second = scene.tally(&after, &Excuse::None);
    Ok(vec![
        Row::new("s4-wait", "both down for 1 s, 5 requests meanwhile", first),
        Row::new("s4-after", "12 requests after both are back", second),
    ])
}

/// s5: SYNs to one of two endpoints are not answered.
pub(crate) fn black_hole(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    let hole = BlackHole::open(free_port()?)?;
    let scene = stage.open_with(&[GOOD], &[hole.port])?;
    let verdicts = scene.ask(6, false, Duration::from_secs(5));
    let tally = scene.tally(&verdicts, &Excuse::None);
    Ok(vec![Row::new("s5", "A is a black hole: 6 GET", tally)])
}
