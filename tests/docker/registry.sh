# shellcheck shell=bash
# Images from a registry: Debian's docker-registry on loopback, without and with logins. Sourced by `run`.

registry_pids=()

# serve_registry NAME [LINE…]: starts a registry, with these lines in its configuration. Its address is in $registry.
serve_registry() {
    local name=$1 port log=$work/registry-$1.log
    shift
    port=$((20000 + RANDOM % 20000))
    registry=127.0.0.1:$port
    {
        printf 'version: 0.1\nlog: {level: warn}\nhttp: {addr: %s}\n' "$registry"
        printf 'storage: {filesystem: {rootdirectory: %s}}\n' "$work/registry-$name"
        (($# == 0)) || printf '%s\n' "$@"
    } >"$work/registry-$name.yml"
    docker-registry serve "$work/registry-$name.yml" >"$log" 2>&1 </dev/null &
    registry_pids+=($!)
    for ((i = 0; i < 100; i++)); do
        [[ -n $(curl -s -o /dev/null -w '%{http_code}' "http://$registry/v2/" | grep -E '200|401') ]] && return
        sleep 0.1
    done
    cat "$log" >&2
    fail "the registry does not answer"
}

# image_on_registry ARGUMENT…: runs `mlconda image` with the lock in the context and the base in the registry.
image_on_registry() {
    env HOME="$work/home" XDG_CACHE_HOME="$work/home/.cache" "$work/bin/mlconda" image "$work/context/base.lock" "$@"
}

# other_engines NAME DIGEST: tests the image with engines without a daemon. buildah pulls it and runs it by `chroot`,
# which needs no control groups; podman pulls it; umoci unpacks it, which checks the layout against the image spec.
other_engines() {
    local name=$1 digest=$2 container storage=(--root "$work/containers" --runroot "$work/containers-run" --storage-driver vfs)
    install_tool buildah buildah
    install_tool podman podman
    install_tool umoci umoci
    quietly buildah "${storage[@]}" pull --tls-verify=false "docker://$name:1"
    container=$(buildah "${storage[@]}" from --pull-never "$name:1")
    quietly buildah "${storage[@]}" run --isolation chroot -v "$work/bin/mlconda:/mlconda:ro" \
        -v "$work/context:/context:ro" "$container" -- /mlconda verify "/$prefix" /context/base.lock
    [[ -n $real ]] || expect "buildah" "$(buildah "${storage[@]}" run --isolation chroot "$container" -- where-am-i)" "^prefix: /$prefix$"
    buildah "${storage[@]}" rm "$container" >/dev/null
    # Both use the same storage, so podman would not pull an image that buildah has pulled.
    quietly buildah "${storage[@]}" rmi --all
    quietly podman "${storage[@]}" pull --tls-verify=false "$name:1"
    [[ $digest == $(podman "${storage[@]}" image inspect --format '{{.Digest}}' "$name:1") ]] ||
        fail "podman has another image than the registry"
    podman "${storage[@]}" image inspect --format '{{json .Config.Env}}' "$name:1" | grep -q "PATH=/$prefix/bin:" ||
        fail "podman does not see the variables of the image"
    quietly umoci unpack --image "$work/layout:1" "$work/bundle"
    [[ -d $work/bundle/rootfs/$prefix/conda-meta ]] || fail "umoci has unpacked something else"
    rm -rf "$work/bundle"
    buildah "${storage[@]}" rmi --all >/dev/null 2>&1 || true
    rm -rf "$work/containers" "$work/containers-run"
    say "  ok  registry: pulled and run by buildah, pulled by podman, unpacked by umoci"
}

registry() {
    install_tool docker-registry docker-registry
    install_tool skopeo skopeo
    install_tool htpasswd apache2-utils
    install_tool curl curl
    local name digest open
    serve_registry open
    open=$registry
    name=$open/mlconda-test/ml
    quietly "$client" tag mlconda-test/debian "$open/mlconda-test/debian"
    quietly "$client" push "$open/mlconda-test/debian"
    quietly image_on_registry --tag "$name:1" --push --base "$open/mlconda-test/debian" --sbom
    quietly "$client" pull "$name:1"
    [[ -n $real ]] || expect "registry" "$("$client" run --rm --label mlconda-test --network=none "$name:1" where-am-i)" "^prefix: /$prefix$"
    quietly "$client" run --rm --label mlconda-test --network=none -v "$work/bin/mlconda:/mlconda:ro" \
        -v "$work/context:/context:ro" "$name:1" /mlconda verify "/$prefix" /context/base.lock
    # A second push sends nothing, and gives the same image.
    quietly image_on_registry --tag "$name:2" --push --base "$open/mlconda-test/debian" --sbom
    grep -q 'nothing was sent' "$log" || { cat "$log" >&2; fail "a second push has sent something"; }
    digest=$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$name:1")
    [[ $digest == $(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$name:2") ]] ||
        fail "the same lock gave two images"
    [[ -n $("$client" inspect --format '{{index .RepoDigests}}' "$name:1" | grep "$digest") ]] ||
        fail "the engine has another image than the registry"
    quietly skopeo copy --src-tls-verify=false "docker://$name:1" "oci:$work/layout:1"
    other_engines "$name" "$digest"
    # The bill of materials is attached, and is the same as that of the lock.
    local bill=(env HOME="$work/home" XDG_CACHE_HOME="$work/home/.cache" "$work/bin/mlconda" sbom)
    quietly "${bill[@]}" "$name:1" -o "$work/image.cdx.json"
    quietly "${bill[@]}" "$work/context/base.lock" -o "$work/lock.cdx.json"
    diff "$work/image.cdx.json" "$work/lock.cdx.json" || fail "the bill of the image is not that of the lock"
    say "  ok  registry: pushed, pulled, run; nothing sent twice; bill of materials"

    htpasswd -Bbn me secret >"$work/htpasswd"
    serve_registry closed "auth: {htpasswd: {realm: here, path: $work/htpasswd}}"
    name=$registry/mlconda-test/ml
    if image_on_registry --tag "$name:1" --push --base "$open/mlconda-test/debian" >"$log" 2>&1; then
        fail "a registry with logins has taken an image without one"
    fi
    grep -q 'no login for it is stored' "$log" || { cat "$log" >&2; fail "the reason of a denial is not told"; }
    printf '{"auths": {"%s": {"auth": "%s"}}}' "$registry" "$(printf me:secret | base64)" >"$work/auth.json"
    quietly env REGISTRY_AUTH_FILE="$work/auth.json" bash -c "$(declare -f image_on_registry); work='$work'; image_on_registry \"\$@\"" _ \
        --tag "$name:1" --push --base "$open/mlconda-test/debian"
    quietly skopeo inspect --tls-verify=false --authfile "$work/auth.json" "docker://$name:1"
    say "  ok  registry: with a login, the layers of the base from another registry"
    "$client" rmi -f "$open/mlconda-test/ml:1" "$open/mlconda-test/debian" >/dev/null 2>&1 || true
}
