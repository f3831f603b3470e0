#!/bin/sh
# Guess pi by throwing points at a square and counting those in the circle.
# It knows nothing of Penstock: it prints what it finds.
points=$1 seed=$2

awk -v points="$points" -v seed="$seed" 'BEGIN {
  srand(seed)
  for (n = 0; n < points; n++) {
    x = rand(); y = rand()
    hits += (x * x + y * y <= 1)
  }
  pi = 4 * hits / points
  error = pi - 3.141592653589793
  print "hits", hits, "of", points > "points.txt"
  printf "pi: %.6f\nerror: %.6f\n", pi, error < 0 ? -error : error
}'
