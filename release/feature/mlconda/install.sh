#!/bin/sh
# Installs a release of mlconda: downloads the archive for this machine, compares its sha256 with the list of the
# release, and unpacks it. The action and the devcontainer feature run this script; a release has a copy of it for its
# own version.
#
#   VERSION      the version, or `latest`. Default: the version of the script's own release, else `latest`
#   DIRECTORY    the directory that gets `bin/mlconda` and `share/`. Default: /usr/local
#   DOWNLOADS    a URL or a directory with the files of the release, in place of those of its repository
#
# It needs tar, sha256sum or shasum, and curl or wget.
set -eu
umask 022

repository=https://github.com/OWNER/mlconda

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

# download URL FILE
download() {
    case $1 in
        http://* | https://*) ;;
        *)
            cp "$1" "$2" || fail "there is no \`$1\`"
            return
            ;;
    esac
    if command -v curl >/dev/null; then
        curl --fail --silent --show-error --location --retry 3 --connect-timeout 30 --proto-redir =https \
            --output "$2" "$1" || fail "cannot download $1"
    elif command -v wget >/dev/null; then
        wget -q -O "$2" "$1" || fail "cannot download $1"
    else
        fail "neither curl nor wget is on PATH: install one of them"
    fi
}

# The sha256 of a file.
sha256() {
    if command -v sha256sum >/dev/null; then
        sha256sum "$1" | cut -d ' ' -f 1
    else
        shasum -a 256 "$1" | cut -d ' ' -f 1
    fi
}

main() {
    version=${VERSION:-@VERSION@}
    directory=${DIRECTORY:-/usr/local}
    case $version in
        @* | latest) version='' downloads=$repository/releases/latest/download ;;
        *) version=${version#v} downloads=$repository/releases/download/v${version#v} ;;
    esac
    case $version in *[!0-9A-Za-z.+-]*) fail "\`$version\` is not a version" ;; esac
    downloads=${DOWNLOADS:-$downloads}

    case $(uname -sm) in
        'Linux x86_64' | 'Linux amd64') target=x86_64-linux ;;
        'Linux aarch64' | 'Linux arm64') target=aarch64-linux ;;
        'Darwin x86_64') target=x86_64-macos ;;
        'Darwin arm64') target=aarch64-macos ;;
        *) fail "there is no program for $(uname -sm)" ;;
    esac

    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    download "$downloads/SHA256SUMS" "$work/SHA256SUMS"
    # Each line is a hash, two blanks and a name.
    line=$(grep -E '^[0-9a-f]{64}  mlconda-[0-9][0-9A-Za-z_.+-]*\.tar\.gz$' "$work/SHA256SUMS" |
        grep -F -- "-${version:+$version-}$target.tar.gz") ||
        fail "the release at $downloads has no program for $target${version:+ of version $version}"
    sum=${line%% *} archive=${line##* }
    download "$downloads/$archive" "$work/$archive"
    found=$(sha256 "$work/$archive")
    [ "$found" = "$sum" ] || fail "$archive has sha256 $found, but the release says $sum"

    mkdir -p "$directory"
    tar -xzf "$work/$archive" -C "$work"
    # The program is replaced by a rename, not overwritten, because it may be running.
    cp -R "$work/${archive%.tar.gz}/share" "$directory/"
    mkdir -p "$directory/bin"
    cp "$work/${archive%.tar.gz}/bin/mlconda" "$directory/bin/.mlconda.new"
    mv -f "$directory/bin/.mlconda.new" "$directory/bin/mlconda"
    "$directory/bin/mlconda" --version
}

main
