//! The scenarios under callgrind. Only the turns of the proxy are counted: the bench function also
//! plays its peers. Run by `benches/gate/run`, which also judges.

use gungraun::{
    Callgrind, EntryPoint, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use pointsman_gate::scenarios::Scenario;
use pointsman_gate::world::World;

fn warm(name: &str) -> World {
    World::warm(Scenario::named(name).expect("a scenario of the table"))
}

#[library_benchmark(setup = warm)]
#[bench::small("small")]
#[bench::one("one")]
#[bench::fields30("fields30")]
#[bench::close("close")]
#[bench::post1k("post1k")]
#[bench::mid16k("mid16k")]
#[bench::services10k("services10k")]
#[bench::endpoints1k("endpoints1k")]
fn serve(mut world: World) -> World {
    world.serve();
    world
}

library_benchmark_group!(name = gate; benchmarks = serve);

main!(
    config = LibraryBenchmarkConfig::default().tool(
        Callgrind::with_args(["--cache-sim=no"])
            .entry_point(EntryPoint::Custom("*counted_turn*".to_owned()))
    );
    library_benchmark_groups = gate
);
