//! Channels: where they can be named, and which of them are used.

use super::*;

#[test]
fn channels_of_the_command_line_come_first_or_alone() {
    let channels = |extra: &[&str], channel_rule| {
        let extra_channels = extra.iter().map(ToString::to_string).collect();
        let options = ReadOptions { extra_channels, channel_rule, ..options() };
        let text = "channels: [b, conda-forge]\ndependencies: [c::x, 'https://conda.anaconda.org/b::y']";
        let environment = Environment::parse(text, Path::new("env/environment.yml"), &options)?;
        Ok::<_, EnvironmentError>(list("", &environment.all_channels(), |channel| channel.name().to_owned()).unwrap())
    };
    assert_eq!(channels(&[], ChannelRule::FileAndExtra).unwrap(), " `b`, `conda-forge`, `c`");
    assert_eq!(
        channels(&["conda-forge", "./d"], ChannelRule::FileAndExtra).unwrap(),
        " `conda-forge`, `file:///project/d/`, `b`, `c`"
    );
    assert_eq!(channels(&["d"], ChannelRule::ExtraOnly).unwrap(), " `d`, `c`, `b`");
    assert_snapshot!(channels(&["$X"], ChannelRule::FileAndExtra).unwrap_err(), @r"
    the channel `$X` cannot be used: the environment variable `X` is not set
      = help: set `X`, or write the channel without it
    ");
}

/// The solver compares the channel of a spec with those of records by URL.
#[test]
fn a_spec_means_the_same_channel_as_the_list() {
    for name in ["conda-forge", "./local", "https://example.com/t/$TOKEN/c", "pkgs/r", "file:local"] {
        let environment = read(&format!("channels: ['{name}']\ndependencies: ['{name}::x']")).unwrap();
        assert_eq!(environment.requirements[0].spec.channel.as_deref(), Some(&environment.channels[0]), "{name}");
        assert_eq!(environment.all_channels().len(), 1, "{name}");
    }
}

/// conda's `channel_alias` and `default_channels`.
#[test]
fn a_mirror_takes_the_place_of_the_public_channels() {
    let options = ReadOptions {
        channel_alias: Some("https://$TOKEN@conda.example.com/mirror".into()),
        default_channels: vec![
            "main".into(),
            "./local".into(),
            "https://conda.example.com/r".into(),
            "defaults".into(),
        ],
        ..options()
    };
    let read = |text: &str| Environment::parse(text, Path::new("env/environment.yml"), &options).unwrap();
    let text = "channels: [conda-forge, defaults, 'https://conda.anaconda.org/x', pkgs/r]\n\
                dependencies: ['defaults::a', 'bioconda::b', 'c[channel=conda-forge]']";
    let channels = read(text).all_channels();
    assert_snapshot!(channels.iter().map(|channel| format!("{}\n", channel.base_url)).collect::<String>(), @"
    https://secret@conda.example.com/mirror/conda-forge/
    https://secret@conda.example.com/mirror/main/
    file:///project/local/
    https://conda.example.com/r/
    https://conda.anaconda.org/x/
    https://repo.anaconda.com/pkgs/r/
    https://secret@conda.example.com/mirror/bioconda/
    ");
    assert_eq!(read("dependencies: [x]").channels.len(), 3);
    let options = ReadOptions { channel_alias: Some("mirror".into()), ..options.clone() };
    assert_snapshot!(Environment::parse(text, Path::new("e.yml"), &options).unwrap_err(), @"
    the channel `mirror` cannot be used: relative URL without a base
      = help: the alias of channels is a URL, as in `https://conda.example.com/mirror`
    ");
}
