// SPDX-License-Identifier: Apache-2.0
// Files that appear whole or not at all: written under another name in the same directory, made durable,
// then put in their place in one step. Who reads them sees the old or the new bytes, whenever the power
// fails. Knows nothing of what is in them.
#pragma once

#include <string>
#include <string_view>

namespace r3 {

enum class Existing { keep, replace };

// `mode`: the permissions, less the umask. Throws EEXIST for a file that is to be kept, EINVAL for what
// is there but is no regular file (a device must not turn into a file). A symbolic link stays one: the
// file behind it is replaced.
void write_whole_file(const std::string& path, std::string_view text, unsigned mode, Existing existing);

// Whether the above would get as far as writing, asked when there is still time to say so: throws if not.
void check_whole_file(const std::string& path);

}  // namespace r3
