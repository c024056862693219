//! Failures at the moments around the sync that only a fail point can hit. The points belong to
//! the whole process, so this is one test: `cargo test -p kv --features failpoints failpoints::`.

use engine_mem::MemEngine;
use engine_traits::Cf;
use fail::FailScenario;
use kv::Config;
use runtime::Stepper;

use crate::fixture::{put, region_error, start};

#[test]
fn a_failure_on_either_side_of_the_sync_is_undetermined() {
    let scenario = FailScenario::setup();
    for (point, written) in [
        ("local_engine_before_sync", false),
        ("local_engine_after_sync", true),
    ] {
        let stepper = Stepper::new(1);
        let engine = MemEngine::new();
        let fixture = start(engine.clone(), &stepper.runtime(), Config::default());
        stepper.block_on(fixture.write(put("before", "v"))).unwrap();
        fail::cfg(point, "return").unwrap();
        let result = stepper.block_on(fixture.write(put("k", "v")));
        fail::remove(point);
        assert!(region_error(result).has_undetermined_result());
        assert_eq!(fixture.fatal.lock().len(), 1);

        // A restart shows what it was.
        let restarted = start(engine.crash(), &stepper.runtime(), Config::default());
        assert!(
            stepper
                .block_on(restarted.get(Cf::Default, "before"))
                .is_some()
        );
        assert_eq!(
            stepper.block_on(restarted.get(Cf::Default, "k")).is_some(),
            written
        );
    }
    scenario.teardown();
}
