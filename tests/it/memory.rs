//! B8.2: what an idle client costs.

use crate::harness::{Origin, Pointsman, notice, open_files};
use crate::wire::Wire;

/// 10,000 clients, each of which has made one request and idles: at most 300 bytes of resident
/// memory each (B8.2: an idle client holds no buffer).
#[test]
fn b8_2_what_an_idle_client_costs() {
    let limit = open_files();
    // The proxy takes two descriptors for each connection into account; the other tests of this
    // process need some, too.
    let clients = 10_000.min(limit / 2 - 200);
    if clients < 10_000 {
        notice(&format!("measured with {clients} idle clients: only {limit} files may be open"));
    }
    let origin = Origin::polite();
    let connections = (clients + 120).to_string();
    let route = format!("*={}", origin.addr);
    let options = [&route, "--max-connections", &connections, "--client-idle", "10m"];
    let proxy = Pointsman::limited(limit.min(2 * clients + 400), &options);
    // What is allocated once is there before the first figure is taken.
    let mut first: Vec<Wire> = (0..100).map(|_| proxy.client()).collect();
    first.iter_mut().for_each(|c| assert_eq!(c.get("/").status(), 200));

    let before = proxy.memory_bytes("VmRSS");
    let mut idle: Vec<Wire> = Vec::new();
    for n in 0..clients {
        let mut client = proxy.client();
        assert_eq!(client.get("/").status(), 200, "client {n}");
        idle.push(client);
    }
    let growth = proxy.memory_bytes("VmRSS").saturating_sub(before);
    println!("{clients} idle clients: {} bytes each", growth / clients);
    assert!(growth / clients <= 300, "{} bytes each", growth / clients);
    for n in (0..idle.len()).step_by(97) {
        assert_eq!(idle[n].get("/").status(), 200, "client {n} is still there");
    }
}
