//! The order of channels: first those of the command line, then the configured ones if the former are not sufficient.

use super::World;

fn extra(world: &World) -> String {
    format!("file://{}/extra", world.context.channels().directory().display())
}

#[test]
fn configured_channels_are_asked_where_the_named_ones_do_not_suffice() {
    let world = World::new();
    let extra = extra(&world);
    world.run(&format!("conda create -y -n x -c {extra} special greet python=3.11")).success();
    assert!(world.installed("x").contains(&"where 9.0".to_owned()));
    let refused = world.run(&format!("conda create -y -n y --override-channels -c {extra} special greet")).failure(1);
    assert!(refused.stderr.contains("no channel has `greet`"), "{refused}");
    world.run("conda create -y -n y --override-channels special").failure(2);
    // python is kept, and the message says how to change it.
    world.run("conda create -y -n z python=3.12").success();
    let refused = world.run("conda install -y -n z arrays").failure(1);
    assert!(refused.stderr.contains("python keeps its minor version unless you give one: `python=X.Y`"), "{refused}");
    world.run("conda install -y -n z arrays python=3.11").success();
    // Installed packages are kept, even if their channel is no longer named.
    world.run("conda install -y -n x arrays").success();
    assert!(world.installed("x").contains(&"where 9.0".to_owned()));
    assert!(world.installed("x").contains(&"special 1.2".to_owned()));
}

#[test]
fn order_counts_as_it_is_chosen() {
    let world = World::new();
    let extra = extra(&world);
    let main = extra.replace("/extra", "/main");
    let both = format!("conda create -y --override-channels -c {main} -c {extra}");
    world.run(&format!("{both} -n flexible where>5")).success();
    world.run(&format!("{both} -n strict --strict-channel-priority where>5")).failure(1);
    world.run(&format!("{both} -n newest --no-channel-priority where")).success();
    assert_eq!(world.installed("newest"), ["where 9.0"]);
    world.run_with(&format!("{both} -n variable where>5"), &[("CONDA_CHANNEL_PRIORITY", "strict")]).failure(1);
}

#[test]
fn a_channel_out_of_reach_hides_no_reason() {
    let world = World::new();
    let line = format!("conda create -y -n x -c {} special greet", extra(&world));
    let told = world.run_with(&line, &[("CONDA_CHANNELS", "http://127.0.0.1:9/nothing")]).failure(1);
    assert!(told.stderr.contains("no channel has `greet`"), "{told}");
    assert!(told.stderr.contains("the other channels could not be loaded"), "{told}");
}

#[test]
fn an_alias_and_default_channels_are_condas() {
    let world = World::new();
    let directory = format!("file://{}", world.context.channels().directory().display());
    let variables = [("CONDA_CHANNEL_ALIAS", directory.as_str()), ("CONDA_CHANNELS", "")];
    world.run_with("conda create -y -n x -c extra --override-channels special where", &variables).success();
    let main = format!("{directory}/main");
    let variables = [("CONDA_DEFAULT_CHANNELS", main.as_str()), ("CONDA_CHANNELS", "")];
    world.run_with("conda create -y -n y where", &variables).success();
    assert_eq!(world.installed("y"), ["where 2.0"]);
    // A lock does not depend on the configured channels.
    world.context.write_environment(&["special"]);
    world.run_with("mlconda lock", &[("CONDA_CHANNELS", &format!("{directory}/extra"))]).failure(1);
}
