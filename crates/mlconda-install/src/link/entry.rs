//! The scripts of entry points, which are commands of noarch python packages. They are byte for byte those of conda.

use rattler_conda_types::{Subdir, package::EntryPoint};

use super::first_line;
use crate::python_info::PythonInfo;

/// The text of a command's script.
pub(super) fn script(prefix: &str, platform: Subdir, entry_point: &EntryPoint, python: &PythonInfo) -> String {
    let EntryPoint { module, function, .. } = entry_point;
    let import = function.split('.').next().unwrap_or(function);
    let first = head(prefix, platform, python);
    [
        &first,
        "# -*- coding: utf-8 -*-\nimport re\nimport sys\n\nfrom ",
        module,
        " import ",
        import,
        "\n\nif __name__ == '__main__':\n    sys.argv[0] = re.sub(r'(-script\\.pyw?|\\.exe)?$', '', sys.argv[0])\n    sys.exit(",
        function,
        "())\n",
    ]
    .concat()
}

/// The first line with its line break, which conda counts, too. If the line is too long or contains a space, these are
/// two lines that both `sh` and python can read.
fn head(prefix: &str, platform: Subdir, python: &PythonInfo) -> String {
    let program = format!("{}/{}", prefix.trim_end_matches('/'), python.path().display());
    first_line::run(&program, "", first_line::longest(platform) - 1) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text that conda's `create_python_entry_point` writes.
    #[test]
    fn a_script_is_condas_byte_for_byte() {
        let version = "3.11.9".parse().unwrap();
        let python = PythonInfo::from_version(&version, None).unwrap();
        let entry_point: EntryPoint = "tool = x.cli:App.main".parse().unwrap();
        let script = |prefix: &str| script(prefix, Subdir::Linux64, &entry_point, &python);
        let expected = concat!(
            "#!/opt/e/bin/python3.11\n# -*- coding: utf-8 -*-\nimport re\nimport sys\n\nfrom x.cli import App\n\n",
            "if __name__ == '__main__':\n    sys.argv[0] = re.sub(r'(-script\\.pyw?|\\.exe)?$', '', sys.argv[0])\n",
            "    sys.exit(App.main())\n"
        );
        assert_eq!(script("/opt/e"), expected);
        let first = |prefix: &str| script(prefix).lines().take(2).collect::<Vec<_>>().join("|");
        assert_eq!(first("/a b"), "#!/bin/sh|'''exec' \"/a b/bin/python3.11\" \"$0\" \"$@\" #'''");
        // The longest first line that is not split has 127 bytes with its line break.
        let long = format!("/{}", "x".repeat(108));
        assert_eq!(script(&long).lines().next().unwrap().len() + 1, 127);
        assert!(first(&format!("{long}x")).starts_with("#!/bin/sh|"));
    }
}
