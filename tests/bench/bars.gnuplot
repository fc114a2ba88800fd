# SPDX-License-Identifier: Apache-2.0
# Bars of one benchmark group. From tests/bench/run: terminal, name, suffix, bars, heading.
eval sprintf("set terminal %s", terminal)
set output sprintf("%s.%s", name, suffix)
set title heading
set ylabel "operations a second (log)"
set logscale y
set format y '%.0s%c'
set grid ytics
set style data histogram
set style histogram clustered gap 1
set style fill solid 0.8 noborder
set key outside top center horizontal
set xtics rotate by -15
plot for [column=2:bars+1] sprintf("%s.dat", name) using column:xtic(1) title columnheader(column)
