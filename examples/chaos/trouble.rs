//! The same under load: backends are killed, stopped, closed and reset, and the proxy is reloaded,
//! while requests keep coming.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Expected, Verdict};
use crate::load;
use crate::script::Script;
use crate::stage::{Backend, Scene, Stage};
use crate::table::Row;
use crate::tally::{Excuse, Kill, Tally};

/// From one kill to the next.
const PERIOD: Duration = Duration::from_secs(2);
const FIRST: Duration = Duration::from_millis(700);
/// How long a killed backend stays away.
const AWAY: Duration = Duration::from_millis(300);
const HANG: Duration = Duration::from_secs(1);
const ONLY_ONE_AWAY: Duration = Duration::from_secs(2);
const RELOADS: u32 = 5;

fn sleep_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}

/// When trouble comes, from the start on, until the load ends.
fn moments(start: Instant, length: Duration) -> impl Iterator<Item = Instant> {
    let last = start + length;
    (0..).map(move |n| start + FIRST + PERIOD * n).take_while(move |at| *at + AWAY < last)
}

/// One of two backends is killed every two seconds, and comes back.
pub(crate) fn kill(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    killing(stage, 0, "kill", "one of 2 endpoints killed and restarted every 2 s")
}

pub(crate) fn kill_slow(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    killing(stage, 2, "kill-2ms", "the same, endpoints need 2 ms")
}

fn killing(stage: &Stage<'_>, ms: u64, key: &str, title: &str) -> io::Result<Vec<Row>> {
    let mut scene = stage.open(&[Script::Answer(ms), Script::Answer(ms)])?;
    let backends = &mut scene.backends;
    let (verdicts, kills) = load::run(scene.proxy.port, stage.pace, Expected::Id, |start| {
        let mut kills = Vec::new();
        for (n, at) in moments(start, stage.pace.time()).enumerate() {
            sleep_until(at);
            let index = n % backends.len();
            if let Some(backend) = backends.get_mut(index) {
                kills.push(restart(backend, AWAY)?);
            }
        }
        Ok(kills)
    })?;
    Ok(vec![Row::new(key, title, under_load(stage, &scene, &verdicts, &Excuse::Kills(&kills)))])
}

fn restart(backend: &mut Backend, away: Duration) -> io::Result<Kill> {
    let kill = backend.kill();
    thread::sleep(away);
    backend.start()?;
    Ok(kill)
}

/// One of two backends hangs for a second: nothing is lost, it takes longer.
pub(crate) fn hang(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    let scene = stage.open(&[Script::Answer(0), Script::Answer(0)])?;
    let backends = &scene.backends;
    let (verdicts, ()) = load::run(scene.proxy.port, stage.pace, Expected::Id, |start| {
        for (n, at) in moments(start, stage.pace.time()).enumerate() {
            sleep_until(at);
            if let Some(backend) = backends.get(n % backends.len()) {
                backend.signal("STOP")?;
                thread::sleep(HANG);
                backend.signal("CONT")?;
            }
        }
        Ok(())
    })?;
    let tally = under_load(stage, &scene, &verdicts, &Excuse::None);
    Ok(vec![Row::new("hang", "one of 2 endpoints stops for 1 s every 2 s", tally)])
}

/// A proxy that is too slow for the load is not spared: what it kept from being sent is said.
fn under_load(
    stage: &Stage<'_>,
    scene: &Scene,
    verdicts: &[Verdict],
    excuse: &Excuse<'_>,
) -> Tally {
    let mut tally = scene.tally(verdicts, excuse);
    match stage.pace.total().saturating_sub(tally.sent) {
        0 => {}
        missing => tally.note(format!("{missing} never sent, it was too slow")),
    }
    tally
}

fn plain(stage: &Stage<'_>, script: Script, expected: Expected) -> io::Result<Tally> {
    let scene = stage.open(&[script, script])?;
    let (verdicts, ()) = load::run(scene.proxy.port, stage.pace, expected, |_| Ok(()))?;
    Ok(under_load(stage, &scene, &verdicts, &Excuse::None))
}

pub(crate) fn close_at_once(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    let tally = plain(stage, Script::CloseWithin(0), Expected::Id)?;
    Ok(vec![Row::new("close-0", "endpoints close connections right after an answer", tally)])
}

pub(crate) fn close_soon(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    let tally = plain(stage, Script::CloseWithin(1_000), Expected::Id)?;
    Ok(vec![Row::new("close-1ms", "endpoints close them within 1 ms of an answer", tally)])
}

/// Answers to GETs are reset in mid-body; they have a strong ETag and can be resumed.
pub(crate) fn reset_inside(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    let tally = plain(stage, Script::ResetInside, Expected::Long)?;
    Ok(vec![Row::new("reset", "1 of 16 answers to GET reset in mid-body", tally)])
}

/// The only endpoint is killed and comes back two seconds later.
pub(crate) fn only_one(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    let mut scene = stage.open(&[Script::Answer(0)])?;
    let backends = &mut scene.backends;
    let (verdicts, kills) = load::run(scene.proxy.port, stage.pace, Expected::Id, |start| {
        sleep_until(start + FIRST);
        backends.iter_mut().map(|backend| restart(backend, ONLY_ONE_AWAY)).collect()
    })?;
    let kills: Vec<Kill> = kills;
    let tally = under_load(stage, &scene, &verdicts, &Excuse::Kills(&kills));
    Ok(vec![Row::new("only-one", "the only endpoint is away for 2 s", tally)])
}

/// The proxy reads its configuration again, five times.
pub(crate) fn reload(stage: &Stage<'_>) -> io::Result<Vec<Row>> {
    let mut scene = stage.open(&[Script::Answer(0), Script::Answer(0)])?;
    let proxy = &scene.proxy;
    let (verdicts, ()) = load::run(scene.proxy.port, stage.pace, Expected::Id, |start| {
        for n in 0..RELOADS {
            sleep_until(start + FIRST + stage.pace.time() * n / (RELOADS + 1));
            proxy.reload()?;
        }
        Ok(())
    })?;
    let mut tally = under_load(stage, &scene, &verdicts, &Excuse::None);
    if scene.proxy.has_ended() {
        tally.note("it ended");
    }
    Ok(vec![Row::new("reload", "the proxy is reloaded 5 times", tally)])
}
