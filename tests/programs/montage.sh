# The Montage pipeline: eleven astronomers' programs make a mosaic of six images.
# needs: montage gcc libc6-dev
# deadline: 240
set -eu
mkdir raw
"$TOOLS/make-sky" make raw 250
"$ROOT/scripts/montage-pipeline" raw work | sed 's/time=[0-9.]*/time=/'
"$TOOLS/make-sky" check work/mosaic.fits
