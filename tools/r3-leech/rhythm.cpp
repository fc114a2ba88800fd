// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-leech/rhythm.hpp"

#include <algorithm>

namespace r3 {

void Rhythm::look(double now, std::uint64_t changed) {
  if (begin_ < 0 || changed < changed_) {
    begin_ = now;
    changed_ = changed;
    return;
  }
  if (now - begin_ < kSlice) return;
  rate_ = static_cast<double>(changed - changed_) / (now - begin_);
  if (slices_.size() == kMostSlices) slices_.erase(slices_.begin(), slices_.begin() + kMostSlices / 4);
  slices_.push_back({begin_, now, rate_});
  begin_ = now;
  changed_ = changed;
  find_phases();
}

// Two groups of rates, each around its own mean (Lloyd's algorithm on a line); between them lies what parts quiet
// from busy. 0: there is only one.
double Rhythm::threshold() const {
  const auto [low, high] = std::ranges::minmax(slices_, {}, &Slice::rate);
  double means[2] = {low.rate, high.rate}, middle = 0;
  for (int step = 0; step < 16; ++step) {
    middle = (means[0] + means[1]) / 2;
    double sums[2] = {0, 0};
    std::size_t counts[2] = {0, 0};
    for (const Slice& one : slices_) {
      const bool upper = one.rate > middle;
      sums[upper] += one.rate;
      ++counts[upper];
    }
    if (counts[0] < kPhase || counts[1] < kPhase) return 0;
    const double before = middle;
    for (int i : {0, 1}) means[i] = sums[i] / static_cast<double>(counts[i]);
    if ((means[0] + means[1]) / 2 == before) break;
  }
  return means[1] >= kApart * means[0] ? middle : 0;
}

void Rhythm::find_phases() {
  quiet_.clear();
  busy_.clear();
  const double middle = threshold();
  if (middle == 0) {
    state_ = slices_.size() >= kEnough ? State::steady : State::unknown;
    return;
  }
  bool whole = false;  // the first was not seen from its beginning
  since_ = slices_.front().begin;
  bool busy = slices_.front().rate > middle;
  for (const Slice& one : slices_) {
    if ((one.rate > middle) == busy) continue;
    if (whole) (busy ? busy_ : quiet_).push_back(one.begin - since_);
    whole = true;
    since_ = one.begin;
    busy = !busy;
  }
  state_ = busy ? State::busy : State::quiet;
}

// Of those that lasted as long as this one has; with nothing to go by, as likely as not.
double Rhythm::lasts(double now, double seconds) const {
  const double so_far = now - since_;
  double longer = 1, all = 2;
  for (const double length : state_ == State::busy ? busy_ : quiet_) {
    if (length < so_far) continue;
    ++all;
    if (length >= so_far + seconds) ++longer;
  }
  return longer / all;
}

double Rhythm::length(State kind) const {
  std::vector<double> lengths = kind == State::busy ? busy_ : quiet_;
  if (lengths.empty()) return 0;
  const auto middle = lengths.begin() + static_cast<std::ptrdiff_t>(lengths.size() / 2);
  std::ranges::nth_element(lengths, middle);
  return *middle;
}

}  // namespace r3
