#!/bin/sh
# Make the reference models with KenLM's lmplz: LMPLZ=path/to/lmplz tests/models/estimation/make_fixtures.sh
set -eu
cd "$(dirname "$0")/fixtures"
estimate() {
  "$LMPLZ" --discount_fallback -S 200M "$@" <sentences.txt 2>/dev/null
}
for order in 1 2 3 5; do
  estimate -o $order >order$order.arpa
done
estimate -o 4 --prune 0 0 1 2 >cutoffs.arpa
