// SPDX-License-Identifier: Apache-2.0

// The other side of tests/fault/noise_end: r3-noise/1 as man/r3-protocol.7 has it, on another implementation
// of Noise (github.com/flynn/noise). Starts noise_end on a socket pair, in the other role, with keys in
// files; both send the same stream, whose first part is many small records, so that keys change.
//
//	peer client|server NNpsk0|XK|XKpsk0|NK DIRECTORY NOISE_END
package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/flynn/noise"
)

const (
	smallRecords = 140000 // two changes of keys
	bulkBytes    = 8 << 20
	mostSealed   = 65535
	perKey       = 1 << 16
)

type pattern struct {
	number byte
	base   noise.HandshakePattern
	psk    bool
}

var patterns = map[string]pattern{
	"NNpsk0": {1, noise.HandshakeNN, true},
	"XK":     {2, noise.HandshakeXK, false},
	"XKpsk0": {3, noise.HandshakeXK, true},
	"NK":     {4, noise.HandshakeNK, false},
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func require(ok bool, what string) {
	if !ok {
		check(fmt.Errorf("%s", what))
	}
}

func keyText(prefix string, key []byte) string {
	sum := sha256.Sum256(append([]byte(prefix), key...))
	return prefix + base64.RawURLEncoding.EncodeToString(append(append([]byte{}, key...), sum[:4]...))
}

func writeKey(directory, name, prefix string, key []byte) {
	check(os.WriteFile(filepath.Join(directory, name), []byte(keyText(prefix, key)+"\n"), 0600))
}

// The stream that both sides send: the high bytes of a linear congruential generator.
type stream struct{ state uint64 }

func (s *stream) Read(p []byte) (int, error) {
	for i := range p {
		s.state = s.state*6364136223846793005 + 1442695040888963407
		p[i] = byte(s.state >> 56)
	}
	return len(p), nil
}

func readMessage(r io.Reader) []byte {
	var length [2]byte
	_, err := io.ReadFull(r, length[:])
	check(err)
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err = io.ReadFull(r, message)
	check(err)
	return message
}

func writeMessage(w io.Writer, message []byte) {
	var length [2]byte
	binary.BigEndian.PutUint16(length[:], uint16(len(message)))
	_, err := w.Write(append(length[:], message...))
	check(err)
}

func handshake(conn net.Conn, hs *noise.HandshakeState, client bool) (send, receive *noise.CipherState) {
	for myTurn := client; ; myTurn = !myTurn {
		var first, second *noise.CipherState
		var err error
		if myTurn {
			var message []byte
			message, first, second, err = hs.WriteMessage(nil, nil)
			check(err)
			writeMessage(conn, message)
		} else {
			var payload []byte
			payload, first, second, err = hs.ReadMessage(nil, readMessage(conn))
			check(err)
			require(len(payload) == 0, "a payload in the handshake")
		}
		if first != nil && client {
			return first, second
		}
		if first != nil {
			return second, first
		}
	}
}

func send(conn net.Conn, cipher *noise.CipherState, done chan<- bool) {
	w := bufio.NewWriterSize(conn, 1<<18)
	data, records := &stream{1}, 0
	record := func(length int) {
		plaintext := make([]byte, length)
		data.Read(plaintext)
		sealed, err := cipher.Encrypt(nil, nil, plaintext)
		check(err)
		writeMessage(w, sealed)
		if records++; records%perKey == 0 {
			cipher.Rekey()
		}
	}
	for i := 0; i < smallRecords; i++ {
		record(1 + i%61)
	}
	for left := bulkBytes; left > 0; {
		length := mostSealed - 16
		if left < length {
			length = left
		}
		record(length)
		left -= length
	}
	record(0)
	check(w.Flush())
	done <- true
}

func totalBytes() int {
	total := bulkBytes
	for i := 0; i < smallRecords; i++ {
		total += 1 + i%61
	}
	return total
}

func receive(conn net.Conn, cipher *noise.CipherState) {
	r := bufio.NewReaderSize(conn, 1<<18)
	data := &stream{1}
	for total, records := 0, 0; ; {
		plaintext, err := cipher.Decrypt(nil, nil, readMessage(r))
		check(err)
		if records++; records%perKey == 0 {
			cipher.Rekey()
		}
		if len(plaintext) == 0 {
			require(total == totalBytes(), "an end too early")
			require(records > 2*perKey, "too few records for two changes of keys")
			return
		}
		expected := make([]byte, len(plaintext))
		data.Read(expected)
		require(bytes.Equal(expected, plaintext), "wrong bytes")
		total += len(plaintext)
	}
}

func main() {
	require(len(os.Args) == 5, "usage: peer client|server PATTERN DIRECTORY NOISE_END")
	client, directory := os.Args[1] == "client", os.Args[3]
	chosen, known := patterns[os.Args[2]]
	require(known, "no such pattern")

	own, err := noise.DH25519.GenerateKeypair(rand.Reader)
	check(err)
	theirs, err := noise.DH25519.GenerateKeypair(rand.Reader)
	check(err)
	preamble := []byte{'R', '3', 'N', 1, chosen.number, 0, 0, 0}
	config := noise.Config{
		CipherSuite: noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashSHA256),
		Pattern:     chosen.base,
		Initiator:   client,
		Prologue:    append([]byte("r3-noise/1"), preamble...),
	}
	if chosen.psk {
		config.PresharedKey = make([]byte, 32)
		rand.Read(config.PresharedKey)
		writeKey(directory, "psk", "r3psk1_", config.PresharedKey)
	}
	if chosen.number == 2 || chosen.number == 3 || (chosen.number == 4 && !client) {
		config.StaticKeypair = own
	}
	if chosen.number == 2 || chosen.number == 3 || (chosen.number == 4 && client) {
		writeKey(directory, "own", "r3sk1_", theirs.Private)
	}
	if chosen.number != 1 && client {
		config.PeerStatic = theirs.Public
	}
	if chosen.number != 1 && !client {
		writeKey(directory, "server", "r3pk1_", own.Public)
	}

	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	check(err)
	file := os.NewFile(uintptr(pair[0]), "socket")
	conn, err := net.FileConn(file)
	check(err)
	file.Close()
	role := map[bool]string{true: "server", false: "client"}[client]
	child := exec.Command(os.Args[4], role, directory)
	child.ExtraFiles = []*os.File{os.NewFile(uintptr(pair[1]), "theirs")}
	child.Stderr = os.Stderr
	var said bytes.Buffer
	child.Stdout = &said
	check(child.Start())
	child.ExtraFiles[0].Close()

	hs, err := noise.NewHandshakeState(config)
	check(err)
	if client {
		_, err = conn.Write(preamble)
		check(err)
	} else {
		got := make([]byte, 8)
		_, err = io.ReadFull(conn, got)
		check(err)
		require(bytes.Equal(got, preamble), "another preamble")
	}
	sending, receiving := handshake(conn, hs, client)
	done := make(chan bool)
	go send(conn, sending, done)
	receive(conn, receiving)
	<-done
	check(child.Wait())

	expected := hex.EncodeToString(hs.ChannelBinding())
	if client && config.StaticKeypair.Public != nil {
		expected += " " + keyText("r3pk1_", own.Public)
	}
	if !client && chosen.number != 1 {
		expected += " " + keyText("r3pk1_", own.Public)
	}
	require(strings.TrimSpace(said.String()) == expected, "another binding or peer: "+said.String())
	fmt.Println(totalBytes(), "bytes each way")
}
