-- Nobody gets back more than was paid.
select order_id, sum(amount) as balance
from silver.payments
group by order_id
having sum(amount) < 0
