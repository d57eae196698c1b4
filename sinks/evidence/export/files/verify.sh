#!/bin/sh
# Checks a package of Weir evidence with ordinary tools: sha256sum, openssl, python3.
#
#     sh verify.sh LOG-KEY.pem [PACKAGE-KEY.pem]
#
# LOG-KEY.pem is the public key of the evidence log as the organisation has published
# it; PACKAGE-KEY.pem the one that signed the package, if it is another. Do not take
# them from the package. Exit status: 0 everything holds, 1 something does not, 2
# could not check. With STAMP_CA=CA.pem before it, the certificates of a time-stamp
# authority, time-stamps of the package in signatures/*.tsr are checked, too; with
# OTHER_KEY=KEY.pem, the key of another log whose records explain what is gone
# (data/others), those are believed.
set -u
if [ $# -lt 1 ] || [ $# -gt 2 ] || [ ! -f "$1" ] || [ ! -f "${2:-$1}" ]; then
  sed -n '2,13s/^# \{0,1\}//p' "$0"
  exit 2
fi
absolute() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s/%s' "$PWD" "$1" ;; esac; }
log=$(absolute "$1")
package=$(absolute "${2:-$1}")
ca=${STAMP_CA:+$(absolute "$STAMP_CA")}
other=${OTHER_KEY:+$(absolute "$OTHER_KEY")}
for tool in sha256sum openssl python3; do
  command -v $tool >/dev/null || { echo "could not check: $tool is not installed"; exit 2; }
done
cd "$(dirname "$0")/../.." || exit 2
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
bad=0
say() { # NAME STATUS
  if [ "$2" -eq 0 ]; then echo "ok     $1"; else echo "ALARM: $1"; bad=1; fi
}

sha256sum --check --quiet --strict tagmanifest-sha256.txt
say 'sha256sum: the lists of files are those that were signed' $?
sha256sum --check --quiet --strict manifest-sha256.txt
say 'sha256sum: the files are those that are listed' $?

signed() { # NOTE KEY: checks the first signature of a signed note
  sed '/^$/,$d' "$1" >"$tmp/text"
  sed -n 's/^— [^ ]* //p' "$1" | head -n 1 | base64 -d 2>/dev/null | tail -c 64 >"$tmp/signature"
  openssl pkeyutl -verify -pubin -inkey "$2" -rawin -in "$tmp/text" -sigfile "$tmp/signature" >/dev/null 2>&1
}
signed signatures/tagmanifest.note "$package" &&
  [ "$(sed -n 1p "$tmp/text")" = 'weir evidence package 1' ] &&
  [ "$(sed -n 2p "$tmp/text")" = "$(sha256sum <tagmanifest-sha256.txt | cut -c 1-64)" ]
say 'openssl: the package is signed' $?
heads=0
for checkpoint in data/log/*/checkpoint; do
  [ -f "$checkpoint" ] && signed "$checkpoint" "$log"
  say "openssl: the head of the log is signed: $checkpoint" $?
  heads=$((heads + 1))
done
[ $heads -eq 1 ] || { echo 'ALARM: the package holds no head, or several'; bad=1; }
for stamp in signatures/*.tsr; do
  [ -f "$stamp" ] || continue
  if [ -z "$ca" ]; then
    echo "       not checked: $stamp; give the authority's certificates as STAMP_CA"
    continue
  fi
  at=$(openssl ts -reply -in "$stamp" -text 2>/dev/null | sed -n 's/^Time stamp: //p')
  openssl ts -verify -data tagmanifest-sha256.txt -in "$stamp" -CAfile "$ca" >/dev/null 2>&1
  say "openssl: $stamp says that the package was there at $at" $?
done

python3 data/verify/verify.py --key "$log" ${other:+--key "$other"} --package-key "$package" .
say "python3: verify.py" $?
exit $bad
