#!/usr/bin/env bash
# Puts in place what the tests need: Debian packages (packages.txt beside this file, and the lists that are named as arguments:
# `tests.sh reliability`) and the Python of target/tools/venv with every tests/**/requirements.txt. Quick when all is there; touches nothing outside target/ but missing packages.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf 'setup: %s\n' "$*"; }

root=()
if [ "$(id -u)" -ne 0 ]; then
    root=(sudo)
fi

updated=no
# Installs Debian packages that are missing. Nothing is started: tests run their own instances.
install() {
    local missing=() package
    for package in "$@"; do
        if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
            missing+=("$package")
        fi
    done
    if [ ${#missing[@]} -eq 0 ]; then
        return
    fi
    if ! command -v apt-get >/dev/null; then
        say "these Debian packages are missing, and there is no apt-get to install them: ${missing[*]}" >&2
        exit 1
    fi
    say "installing ${missing[*]}"
    if [ "$updated" = no ]; then
        "${root[@]}" apt-get update -qq
        updated=yes
    fi
    # Postfix asks questions at its installation; tests bring their own configuration.
    if [[ " ${missing[*]} " == *" postfix "* ]] && command -v debconf-set-selections >/dev/null; then
        printf '%s\n' 'postfix postfix/main_mailer_type select No configuration' 'postfix postfix/mailname string localhost' |
            "${root[@]}" debconf-set-selections
    fi
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

for list in packages "$@"; do
    mapfile -t packages < <(sed 's/#.*//; s/[[:space:]]//g; /^$/d' "tests/setup/$list.txt")
    install "${packages[@]}"
done

mapfile -t requirements < <(find tests -name requirements.txt | sort)
venv=target/tools/venv
if [ ${#requirements[@]} -gt 0 ]; then
    wanted=$(cat "${requirements[@]}" | sha256sum)
    if [ ! -x "$venv/bin/python" ] || [ "$(cat "$venv/requirements.sha256" 2>/dev/null)" != "$wanted" ]; then
        if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
            install python3 python3-venv
        fi
        say "a Python for the tests, with ${requirements[*]}"
        rm -rf "$venv"
        python3 -m venv "$venv"
        arguments=()
        for file in "${requirements[@]}"; do
            arguments+=(-r "$file")
        done
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${arguments[@]}"
        # Written last: a set-up that broke off begins anew.
        printf '%s\n' "$wanted" >"$venv/requirements.sha256"
    fi
fi
