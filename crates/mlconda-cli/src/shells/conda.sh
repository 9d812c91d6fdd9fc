# Shell functions of mlconda: `conda activate` and `conda deactivate` change this shell; everything else is passed on.
# `conda init` writes this file anew.
@VARIABLES@export CONDA_SHLVL="${CONDA_SHLVL:-0}"

__mlconda() {
    case "${2-}" in
        activate | deactivate | reactivate)
            __mlconda_said="$(__mlconda_as="$1" && shift && PS1="${PS1-}" && export PS1 && exec @EXE@ "$__mlconda_as" shell.posix "$@")" || return
            eval "$__mlconda_said"
            unset __mlconda_said
            hash -r
            ;;
        install | update | upgrade | remove | uninstall)
            @EXE@ "$@" || return
            if [ "$CONDA_SHLVL" != 0 ]; then
                __mlconda "$1" reactivate
            fi
            ;;
        *) @EXE@ "$@" ;;
    esac
}

conda() { __mlconda conda "$@"; }
mamba() { __mlconda mamba "$@"; }
micromamba() { __mlconda micromamba "$@"; }
mlconda() {
    case "${1-}" in
        activate | deactivate) __mlconda conda "$@" ;;
        *) @EXE@ "$@" ;;
    esac
}
