# shellcheck shell=bash
# Images from a bundle, without a network. Sourced by `run`.

# mlconda_here ARGUMENT…: runs the program with the home of the test.
mlconda_here() {
    env HOME="$work/home" XDG_CACHE_HOME="$work/home/.cache" "$work/bin/mlconda" "$@"
}

bundle() {
    local context=$work/context
    quietly mlconda_here bundle "$context/base.lock" -o "$context/env.bundle"
    quietly mlconda_here bundle "$context/base.lock" --self -o "$context/env.run"
    quietly mlconda_here bundle --verify "$context/env.bundle" "$context/env.run"

    # The executable needs no other file, neither in Debian nor in an empty image.
    printf 'FROM mlconda-test/debian\nCOPY env.run train.py /\nRUN /env.run -p /%s\nENV PATH=/%s/bin:$PATH\nCMD ["python", "train.py"]\n' \
        "$prefix" "$prefix" >"$context/Dockerfile.bundle"
    build "$context" bundle --file "$context/Dockerfile.bundle" --network=none
    expect bundle "$(run bundle)" "$trained"
    programs bundle
    quietly "$client" run --rm --label mlconda-test --network=none mlconda-test/bundle \
        /env.run mlconda verify "/$prefix" /env.run
    printf 'FROM scratch\nCOPY env.run /\nRUN ["/env.run", "-p", "/%s", "--no-scripts"]\nRUN ["/env.run", "mlconda", "verify", "/%s"]\n' \
        "$prefix" "$prefix" >"$context/Dockerfile.scratch"
    build "$context" bundle-scratch --file "$context/Dockerfile.scratch" --network=none
    say "  ok  bundle: one executable installs in Debian and FROM scratch, without a network"

    # An image of the bundle, with only loopback as a network, and a file as the base.
    quietly "$client" save -o "$work/debian.docker.tar" mlconda-test/debian
    local base=docker-archive:$work/debian.docker.tar arguments=(--tag mlconda-test/bundled:1)
    quietly mlconda_here image "$context/base.lock" --base "$base" "${arguments[@]}" --oci-layout "$work/of-lock"
    if unshare --net true 2>/dev/null; then
        quietly unshare --net env HOME="$work/home" "$work/bin/mlconda" image "$context/env.bundle" --base "$base" \
            "${arguments[@]}" --oci-layout "$work/of-bundle"
    else
        quietly mlconda_here image "$context/env.bundle" --base "$base" "${arguments[@]}" --oci-layout "$work/of-bundle"
    fi
    diff "$work/of-lock/index.json" "$work/of-bundle/index.json" || fail "the image of a bundle is not that of its lock"
    say "  ok  bundle: its image is that of the lock"
    rm -rf "$work/of-lock" "$work/of-bundle" "$work/debian.docker.tar" "$context/env.bundle" "$context/env.run"
}
