#!/bin/sh
# Makes fixtures/ out of fixtures/corpus.txt: a KenLM binary of every kind, and what KenLM scores.
# Usage: make_fixtures.sh FOLDER_OF_KENLM_PROGRAMS (lmplz, build_binary), with the kenlm package
# installed for $PYTHON. The results are committed, because KenLM may be absent where tests run.
set -eu
programs=$1
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/fixtures"
rm -f -- *.arpa *.bin

"$programs/lmplz" -o 4 --discount_fallback <corpus.txt >plain.arpa
"$programs/lmplz" -o 2 --discount_fallback <corpus.txt >bigrams.arpa
"${PYTHON:-python3}" "$here/edit_arpa.py" plain.arpa

build() {  # NAME ARPA OPTIONS…
  name=$1 arpa=$2
  shift 2
  "$programs/build_binary" "$@" "$arpa.arpa" "$name.bin"
}

for arpa in plain bigrams without_unk pruned; do
  build "$arpa.probing" "$arpa" probing
  build "$arpa.trie" "$arpa" trie
done
build plain.probing_sparse plain -p 2.5 probing
build plain.probing_wordless plain -v probing
build plain.trie_wordless plain -v trie
build plain.quantized plain -q 4 -b 3 trie
build plain.array plain -a 22 trie
build plain.quantized_array plain -q 5 -b 2 -a 22 trie
build bigrams.quantized_array bigrams -q 4 -a 22 trie
rm bigrams.arpa pruned.arpa

"${PYTHON:-python3}" "$here/write_expected.py"
