// Source and sink of an AXI4-Stream port whose words live outside the simulator.
//
// A generated package `hwsim_dpi` holds WORD, the bits of the widest port, and the imports.
// Each cycle in which a stream may do something, one DPI-C call moves at most one word; the reply
// is a set of the flags below.  No Python runs while the stream runs.

// Decides cycle by cycle whether a port pauses: xorshift32 against a 16-bit rate, each pause
// 1 + (random & burst) cycles long.
module hwsim_pause #(
    parameter PORT = 0
) (
    input             clk,
    input             rst,
    input      [15:0] rate,
    input      [ 7:0] burst,
    input      [31:0] seed,
    output            pause
);
  reg [31:0] state;
  reg [ 7:0] hold;
  wire [31:0] s1 = state ^ (state << 13);
  wire [31:0] s2 = s1 ^ (s1 >> 17);
  wire [31:0] s3 = s2 ^ (s2 << 5);
  wire draw = state[15:0] < rate;
  assign pause = hold != 0 || draw;
  always @(posedge clk) begin
    if (rst) begin
      // Never zero, the one state that xorshift does not leave.
      state <= (seed ^ (32'h9E3779B9 * (PORT + 1))) | 32'h1;
      hold  <= 0;
    end else begin
      state <= s3;
      if (hold != 0) hold <= hold - 1;
      else if (draw) hold <= state[23:16] & burst;
    end
  end
endmodule

module hwsim_source #(
    parameter PORT = 0,
    parameter WIDTH = 8
) (
    input                  clk,
    input                  rst,
    input      [     15:0] rate,
    input      [      7:0] burst,
    input      [     31:0] seed,
    input      [     63:0] cycle,
    output reg             tvalid,
    input                  tready,
    output reg [WIDTH-1:0] tdata,
    output reg             tlast,
    output                 moved,
    output reg             complete,
    output reg             restart
);
  wire pause;
  reg ended;
  hwsim_pause #(.PORT(2 * PORT)) u_pause (.*);

  assign moved = tvalid && tready;
  wire want = (!tvalid || tready) && !pause && !ended;
  bit [hwsim_dpi::WORD-1:0] word;
  int reply;
  always @(posedge clk) begin
    if (rst) begin
      tvalid <= 0;
      tlast <= 0;
      ended <= 0;
      complete <= 0;
      restart <= 0;
    end else if (moved || want) begin
      reply = hwsim_dpi::hwsim_source(PORT, {31'b0, moved}, {31'b0, want}, cycle, word);
      tvalid <= reply[0];
      if (reply[0]) begin
        tdata <= word[WIDTH-1:0];
        tlast <= reply[1];
      end
      if (reply[2]) complete <= 1;
      if (reply[3]) restart <= 1;
      if (reply[4]) ended <= 1;
    end
  end
endmodule

module hwsim_sink #(
    parameter PORT = 0,
    parameter WIDTH = 8
) (
    input              clk,
    input              rst,
    input  [     15:0] rate,
    input  [      7:0] burst,
    input  [     31:0] seed,
    input  [     63:0] cycle,
    input              tvalid,
    output             tready,
    input  [WIDTH-1:0] tdata,
    input              tlast,
    output             moved,
    output reg         complete
);
  localparam DROPPED = 0, CHANGED = 1;

  wire pause;
  reg ready;
  hwsim_pause #(.PORT(2 * PORT + 1)) u_pause (.*);

  assign tready = ready;
  assign moved  = tvalid && ready;
  reg refused, last_was;
  reg [WIDTH-1:0] data_was;
  bit [hwsim_dpi::WORD-1:0] word;
  int reply;
  always @(posedge clk) begin
    data_was <= tdata;
    last_was <= tlast;
    if (rst) begin
      ready <= 0;
      refused <= 0;
      complete <= 0;
    end else begin
      ready   <= !pause;
      refused <= tvalid && !ready;
      if (refused) begin
        if (!tvalid) hwsim_dpi::hwsim_violation(PORT, DROPPED, cycle);
        else if (tdata != data_was || tlast != last_was)
          hwsim_dpi::hwsim_violation(PORT, CHANGED, cycle);
      end
      if (moved) begin
        word = 0;
        word[WIDTH-1:0] = tdata;
        reply = hwsim_dpi::hwsim_sink(PORT, word, {31'b0, tlast}, cycle);
        if (reply[2]) complete <= 1;
      end
    end
  end
endmodule

// Reset, end, watchdog and the count of cycles.
module hwsim_control (
    input             clk,
    input             go,
    input      [31:0] watchdog,
    input      [31:0] drain,
    input      [63:0] stop,
    input             moved,
    input             complete,
    input             restart,
    output reg        rst,
    output reg        done,
    output reg        stuck,
    output reg        last_attempt,
    output reg [63:0] cycle
);
  localparam RESET_CYCLES = 4;

  // Everything else starts at random, and is cleared by this.
  initial rst = 1;

  reg [31:0] quiet;
  reg [31:0] drained;
  reg [ 2:0] resetting;
  always @(posedge clk) begin
    if (!go) begin
      rst <= 1;
      resetting <= RESET_CYCLES;
      cycle <= 0;
      quiet <= 0;
      drained <= 0;
      done <= 0;
      stuck <= 0;
      last_attempt <= 0;
    end else if (rst) begin
      resetting <= resetting - 1;
      cycle <= 0;
      quiet <= 0;
      if (resetting == 1) begin
        rst <= 0;
        last_attempt <= hwsim_dpi::hwsim_begin() != 0;
      end
    end else if (!done) begin
      cycle <= cycle + 1;
      quiet <= moved ? 0 : quiet + 1;
      if (restart) begin
        rst <= 1;
        resetting <= RESET_CYCLES;
      end else if (complete) begin
        drained <= drained + 1;
        if (drained >= drain) done <= 1;
      end else if (quiet >= watchdog) begin
        stuck <= 1;
        done  <= 1;
      end
      if (stop != 0 && cycle >= stop && last_attempt) done <= 1;
    end
  end
endmodule
