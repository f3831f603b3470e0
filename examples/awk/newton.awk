# Newton's way to a square root: logs the guess and its error after each step.
BEGIN {
  for (step = 0; step < 60; step++) {
    guess = (guess + n / guess) / 2
    error = guess * guess - n
    if (error < 0) error = -error
    system(sprintf("penstock-log root=%.12g error=%.6g step=%d", guess, error, step))
    if (error < 1e-9) break
  }
  system("penstock-log --tag converged=" (step < 60 ? "yes" : "no"))
}
