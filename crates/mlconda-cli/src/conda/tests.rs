//! Command lines as in Dockerfiles, and how they are parsed: each is accepted with its meaning, or rejected with a
//! reason.

use std::ffi::OsString;

use super::{line::Line, tool::Tool};

/// The meaning of a command line as text, without options that have no effect.
fn meaning(text: &str) -> String {
    let mut words = text.split_whitespace().map(OsString::from);
    let tool = Tool::of(&words.next().unwrap()).unwrap();
    let arguments: Vec<OsString> = words.collect();
    match Line::parse(tool, &arguments) {
        Ok(line) => {
            let mut parts = vec![line.verb.map_or("-".to_owned(), |verb| format!("{verb:?}"))];
            parts.extend(line.options.iter().map(|(key, value)| match value.as_str() {
                "" => (*key).to_owned(),
                value => format!("{key}={value}"),
            }));
            parts.extend(line.operands.iter().map(|word| word.to_string_lossy().into_owned()));
            parts.extend(line.remarks.iter().map(|remark| format!("({remark})")));
            parts.join(" ")
        }
        Err(error) => format!("refused: {error:?}"),
    }
}

/// Command lines as people write them.
const LINES: &str = "\
conda env create -f env/gpu.yml -n gpu && conda clean -tipsy
conda env create --file=environment.yaml --prefix ./env -q
conda env update --name base --file /tmp/environment.yml --prune
conda install -yq -c bioconda -cconda-forge samtools=1.17 bwa
conda install --yes --channel=pytorch --override-channels pytorch
conda install -n base --freeze-inst conda-forge::git
conda create -qy -p /opt/env --strict-channel-priority python=3.11 pip
conda create --name=test --clone base
conda update --all -y
conda upgrade -n base numpy
conda remove -y -n x --force numpy
conda uninstall --name x --all
micromamba install -yn base -f /tmp/env.yaml
micromamba -r /opt/conda create -y -f env.yml
micromamba env create -f env.yml
micromamba clean -ay
mamba install --no-pin --freeze-installed -y cupy
conda run --live-stream --cwd /srv -n web gunicorn -w 4 app:app
conda list --explicit --md5 -p /opt/env
conda env export --no-builds -f out.yml
conda install -k --solver libmamba numpy
conda --no-plugins env list
conda activate web
conda env frobnicate
conda install -z numpy
conda install -ncopy
conda install --file
conda build recipe
conda build purge-all
conda tos accept --override-channels --channel https://repo.anaconda.com/pkgs/main
conda env config vars set -n x LANG=C.UTF-8 A=1
micromamba install --root-prefix=/opt/conda --prefix=/opt/conda --yes jupyter_core mamba python=3.12.*
conda install -vv --show-channel-urls --no-update-deps --prefix=/opt/x -c nvidia/label/cuda-11.8.0 cuda
mamba list --full-name python
conda list --revisions
conda install --rev 2 -y
micromamba create -n x -y --retry-clean-cache --use-uv --extra-safety-checks xz
micromamba create -y -n x --ssl-verify false xz
conda create -O -c conda-forge --repodata-use-zst --exclude-newer=2024-05-31 -n x xz
conda remove -y --no-pin -C -n x xz
conda search -f numpy --skip-flexible-search
conda search --outdated
conda help install
conda env
conda skeleton pypi click
conda token set abc
conda clean -tipsyc
conda export -n x --format=json --platform linux-64
conda env update -f=/tmp/env.yml -n base";

#[test]
fn lines_mean_what_they_mean_to_conda() {
    let meanings: Vec<String> = LINES.lines().flat_map(|line| line.split(" && ")).map(meaning).collect();
    insta::assert_snapshot!(meanings.join("\n"), @r#"
    EnvCreate --file=env/gpu.yml --name=gpu
    Clean --tarballs --index-cache --packages --trash --yes
    EnvCreate --file=environment.yaml --prefix=./env --quiet
    EnvUpdate --name=base --file=/tmp/environment.yml --remove-old
    Install --yes --quiet --channel=bioconda --channel=conda-forge samtools=1.17 bwa
    Install --yes --channel=pytorch --override-channels pytorch
    Install --name=base --freeze-installed conda-forge::git
    Create --quiet --yes --prefix=/opt/env --strict-channel-priority python=3.11 pip
    Create --name=test --clone=base
    Update --update-all --yes
    Update --name=base numpy
    Remove --yes --name=x --force-remove numpy
    Remove --name=x --all
    Install --yes --name=base --file=/tmp/env.yaml
    Create --root-prefix=/opt/conda --yes --file=env.yml
    EnvCreate --file=env.yml
    Clean --all --yes
    Install --no-pin --freeze-installed --yes cupy
    Run --cwd=/srv --name=web gunicorn -w 4 app:app
    List --explicit --md5 --prefix=/opt/env
    Export --no-build --file=out.yml
    Install numpy (`-k` changes nothing: certificates are always checked; add trusted ones with `SSL_CERT_FILE`) (`--solver` changes nothing: mlconda has one solver, its own)
    EnvList
    Activate web
    refused: World { message: "there is no command `env frobnicate`", hint: Some("there is `env create`, `env update`, `env remove`, `env list`, `env export`, `env config`") }
    refused: Usage("there is no option `-z`; `conda install --help` lists them")
    Install --name=copy
    refused: Usage("a value is missing after `--file`: FILE")
    Refused("mlconda builds no packages: `rattler-build` and `conda-build` do")
    Nothing("nothing was built here")
    Nothing("mlconda does not record accepted terms; the terms of the channels still apply")
    Variables --name=x vars set LANG=C.UTF-8 A=1
    Install --root-prefix=/opt/conda --prefix=/opt/conda --yes jupyter_core mamba python=3.12.*
    Install --verbose --verbose --freeze-installed --prefix=/opt/x --channel=nvidia/label/cuda-11.8.0 cuda
    List --full-name python
    List --revisions
    Install --revision=2 --yes
    Create --name=x --yes xz
    Create --yes --name=x xz (`--ssl-verify` changes nothing: certificates and archives are always checked)
    Create --override-channels --channel=conda-forge --exclude-newer=2024-05-31 --name=x xz
    Remove --yes --name=x xz
    Search numpy
    refused: World { message: "`--outdated` is not supported", hint: Some("`update --all --dry-run` shows newer versions") }
    Install --help
    -
    Refused("`grayskull` makes recipes, and `rattler-build` makes packages from them")
    Refused("logins are read from `~/.netrc`, or from a variable in the channel's URL")
    Clean --tarballs --index-cache --packages --trash --yes --trash
    refused: World { message: "`--platform` is not supported", hint: Some("an environment has one platform: `mlconda lock --platform` locks for others") }
    EnvUpdate --file=/tmp/env.yml --name=base
    "#);
}

#[test]
fn help_keeps_to_the_width_of_the_terminal() {
    use super::options::{VERBS, help};
    for width in [50, 80, 100] {
        let verbs = VERBS.iter().map(|(_, verb, _)| Some(*verb)).chain([None]);
        for text in verbs.map(|verb| help(Tool::Conda, verb, width)) {
            let long = text.lines().find(|line| line.chars().count() > width);
            assert_eq!(long, None, "{width}");
        }
    }
}
