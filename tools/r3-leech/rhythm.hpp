// SPDX-License-Identifier: Apache-2.0
// The rhythm in which an application writes, learnt from how much it has written at each look: phases in which
// it writes little and phases in which it writes much, and how long each is likely to last, from how long those
// before it did (the share of the earlier ones that lasted as long). Pure: it is told numbers and times in
// seconds, and asks nobody. The idea: "Reducing Virtual Machine Live Migration Overhead via Workload Analysis".
#pragma once

#include <cstdint>
#include <vector>

namespace r3 {

class Rhythm {
 public:
  // `changed`: bytes that were written so far, `now`: seconds, later each time. Less than before: counted anew.
  void look(double now, std::uint64_t changed);

  enum class State {
    unknown,  // not seen long enough
    steady,   // all the time the same
    quiet,
    busy
  };
  State state() const { return state_; }
  bool known() const { return state_ == State::quiet || state_ == State::busy; }
  // When the present phase began.
  double since() const { return since_; }
  // How likely it is that the present phase lasts for so long from `now` on, 0 to 1.
  double lasts(double now, double seconds) const;
  // The median length of the phases of this kind; 0: none.
  double length(State kind) const;
  double rate() const { return rate_; }  // bytes a second of late

 private:
  static constexpr double kSlice = 0.025;         // seconds
  static constexpr std::size_t kMostSlices = 4096;  // what is older is forgotten
  static constexpr std::size_t kEnough = 20;        // slices, to call it steady
  static constexpr std::size_t kPhase = 3;          // slices of either kind, to call it a rhythm
  static constexpr double kApart = 4;               // busy writes at least so many times as much

  struct Slice {
    double begin = 0, end = 0, rate = 0;
  };
  double threshold() const;
  void find_phases();

  std::vector<Slice> slices_;
  double begin_ = -1;
  std::uint64_t changed_ = 0;
  State state_ = State::unknown;
  double since_ = 0, rate_ = 0;
  std::vector<double> quiet_, busy_;  // lengths of those that were seen whole
};

}  // namespace r3
