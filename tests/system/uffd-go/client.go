// SPDX-License-Identifier: Apache-2.0

// Client has its memory answered by uffd-serve as a program with userfaultfd-go does: it registers
// memory, sends the address (8 bytes, big-endian) and then the descriptor, and reads.
//
//	client SOCKET FILE    fails unless its memory is then the file, read by several goroutines
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

const (
	sysUserfaultfd = 323
	apiIoctl       = 0xc018aa3f
	registerIoctl  = 0xc020aa00
	modeMissing    = 1
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

func ioctl(fd, request uintptr, argument unsafe.Pointer) {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(argument)); errno != 0 {
		must(errno)
	}
}

// register returns memory of a file's length, and the userfaultfd that its faults go to.
func register(length int) ([]byte, uintptr) {
	uffd, _, errno := syscall.Syscall(sysUserfaultfd, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0, 0)
	if errno != 0 {
		must(errno)
	}
	api := struct{ api, features, ioctls uint64 }{api: 0xaa}
	ioctl(uffd, apiIoctl, unsafe.Pointer(&api))
	page := os.Getpagesize()
	rounded := (length + page - 1) / page * page
	memory, err := syscall.Mmap(-1, 0, rounded, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANONYMOUS)
	must(err)
	request := struct{ start, length, mode, ioctls uint64 }{start: uint64(uintptr(unsafe.Pointer(&memory[0]))), length: uint64(rounded), mode: modeMissing}
	ioctl(uffd, registerIoctl, unsafe.Pointer(&request))
	return memory[:length], uffd
}

func handOver(path string, memory []byte, uffd uintptr) *net.UnixConn {
	address, err := net.ResolveUnixAddr("unix", path)
	must(err)
	connection, err := net.DialUnix("unix", nil, address)
	must(err)
	must(binary.Write(connection, binary.BigEndian, int64(uintptr(unsafe.Pointer(&memory[0])))))
	file, err := connection.File()
	must(err)
	defer file.Close()
	must(syscall.Sendmsg(int(file.Fd()), nil, syscall.UnixRights(int(uffd)), nil, 0))
	return connection
}

// compare reads the memory with several goroutines, each a part and a byte at a time first.
func compare(memory, wanted []byte) {
	const parts = 8
	var group sync.WaitGroup
	each := (len(wanted) + parts - 1) / parts
	for from := 0; from < len(wanted); from += each {
		to := from + each
		if to > len(wanted) {
			to = len(wanted)
		}
		group.Add(1)
		go func(from, to int) {
			defer group.Done()
			for at := from; at < to; at += 4096 {
				if memory[at] != wanted[at] {
					must(fmt.Errorf("byte %d is %d, not %d", at, memory[at], wanted[at]))
				}
			}
			if !bytes.Equal(memory[from:to], wanted[from:to]) {
				must(fmt.Errorf("the memory is not the file"))
			}
		}(from, to)
	}
	group.Wait()
}

func main() {
	wanted, err := os.ReadFile(os.Args[2])
	must(err)
	memory, uffd := register(len(wanted))
	connection := handOver(os.Args[1], memory, uffd)
	defer connection.Close()
	compare(memory, wanted)
	fmt.Println(len(wanted), "bytes are right")
}
