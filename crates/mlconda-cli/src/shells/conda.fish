# Functions of mlconda: `conda activate` and `conda deactivate` change this shell; everything else is passed on.
# `conda init` writes this file anew.
@VARIABLES@set -q CONDA_SHLVL; or set -gx CONDA_SHLVL 0

function __mlconda
    switch "$argv[2]"
        case activate deactivate reactivate
            set -l said (@EXE@ $argv[1] shell.fish $argv[2..-1] | string collect)
            test $pipestatus[1] -eq 0; or return 1
            eval $said
        case install update upgrade remove uninstall
            @EXE@ $argv; or return
            test $CONDA_SHLVL = 0; or __mlconda $argv[1] reactivate
        case '*'
            @EXE@ $argv
    end
end

function conda; __mlconda conda $argv; end
function mamba; __mlconda mamba $argv; end
function micromamba; __mlconda micromamba $argv; end

if functions -q fish_prompt; and not functions -q __mlconda_prompt
    functions -c fish_prompt __mlconda_prompt
    function fish_prompt
        echo -n "$CONDA_PROMPT_MODIFIER"
        __mlconda_prompt
    end
end
