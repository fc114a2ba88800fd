# SPDX-License-Identifier: Apache-2.0
# Lines of one benchmark group. From tests/bench/run: terminal, name, suffix, lines, heading, x, y.
eval sprintf("set terminal %s", terminal)
set output sprintf("%s.%s", name, suffix)
set title heading
set xlabel x
set ylabel y
set yrange [0:*]
set grid
set key outside top center horizontal
plot for [column=2:lines+1] sprintf("%s.dat", name) using 1:column with linespoints linewidth 2 title columnheader(column)
