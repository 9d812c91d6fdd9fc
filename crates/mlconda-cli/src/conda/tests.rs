//! Command lines of the kinds that Dockerfiles have, and what is made of them: each is accepted with its meaning, or refused
//! with a reason.

use std::ffi::OsString;

use super::line::{Line, Tool};

/// A line's meaning in one text; what counts for nothing is not in it.
fn meaning(text: &str) -> String {
    let mut words = text.split_whitespace().map(OsString::from);
    let tool = Tool::of(&words.next().unwrap()).unwrap();
    let arguments: Vec<OsString> = words.collect();
    match Line::parse(tool, &arguments) {
        Ok(line) => {
            let mut parts = vec![format!("{:?}", line.verb.unwrap())];
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

#[test]
fn lines_mean_what_they_mean_to_conda() {
    let lines = "\
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
conda build recipe";
    let meanings: Vec<String> = lines.lines().flat_map(|line| line.split(" && ")).map(meaning).collect();
    insta::assert_snapshot!(meanings.join("\n"), @"");
}
