// Cooperative matrices of 8 x 8, f16 factors and f32 sums.

alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;

const SIDE = 8u;
